"""`medseg dicom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.display import console
from medseg.cli.records import record_result

_WHAT, _MEANING, _SERIES = "What is written", "What the labels are", "Which series"


def command(
    labels: Annotated[
        Path,
        typer.Argument(help="A label map on the grid of the series, an RTSTRUCT or a DICOM SEG.", metavar="LABELS"),
    ],
    source: Annotated[Path, typer.Argument(help="Folder or zip of the study, or FOLDER#KEY.", metavar="STUDY")],
    output: Annotated[Path, typer.Argument(help="Folder for the objects.", metavar="OUT")],
    write: Annotated[
        str, typer.Option(help="Some of seg,rtstruct,report (volumes, with a seg).", rich_help_panel=_WHAT)
    ] = "seg",
    labelmap: Annotated[
        bool, typer.Option("--labelmap", help="SEG of the type LABELMAP, not BINARY.", rich_help_panel=_WHAT)
    ] = False,
    structures: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE; repeatable. Without it, labels.json of `medseg predict` beside the labels says.",
            rich_help_panel=_MEANING,
        ),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            help="A CSV, or 'Anterior=anterior hippocampus,...' with names of the table.", rich_help_panel=_MEANING
        ),
    ] = None,
    generic_codes: Annotated[
        bool,
        typer.Option(
            "--generic-codes", help="Structures without codes are 'Tissue' and their name.", rich_help_panel=_MEANING
        ),
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option(help="'NAME VERSION' of the program that made the labels.", rich_help_panel=_MEANING),
    ] = None,
    manual: Annotated[
        bool, typer.Option("--manual", help="A person drew or corrected the labels.", rich_help_panel=_MEANING)
    ] = False,
    series: Annotated[
        str | None,
        typer.Option(help="Number, key, or rules such as Modality=CT.", rich_help_panel=_SERIES),
    ] = None,
    resample_tilt: Annotated[
        bool,
        typer.Option("--resample-tilt", help="The labels were made with --resample-tilt.", rich_help_panel=_SERIES),
    ] = False,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="The labels were made with --allow-gaps.", rich_help_panel=_SERIES)
    ] = False,
) -> None:
    """Turn a label file into DICOM objects of the series that it belongs to: SEG, RTSTRUCT, a report of volumes.

    [bold]Examples[/]

    medseg dicom out/case.nii.gz study/ objects/

    medseg dicom liver.nii.gz study/ objects/ --structures liver=1 --manual --write seg,report

    [bold]Exit code[/]: 0 written, 2 nothing could be done.
    """
    from medseg.commands.dicom.dicom import dicom
    from medseg.commands.dicom.options import DicomOutOptions
    from medseg.delivery.answers.options import WriteOptions

    options = DicomOutOptions(
        series,
        structures or (),
        WriteOptions(write.split(","), labelmap, codes, generic_codes),
        algorithm,
        manual,
        resample_tilt,
        allow_gaps,
    )
    result = dicom(labels, source, output, options)
    record_result(files=result.files, volumes=result.volumes)
    for form, path in result.files.items():
        console.print(f"{form}: {path}", markup=False, soft_wrap=True)
    volumes = ", ".join(f"{name} {volume:.4g} ml" for name, volume in result.volumes.items())
    console.print(f"of {result.series}; {volumes}", markup=False)
