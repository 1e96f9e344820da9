"""`medseg dicom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from medseg.cli.output.display import console, show_notes
from medseg.cli.output.records import record_result
from medseg.commands.dicom.options import DicomOutOptions
from medseg.core.options import Option


def command(
    *,
    labels: Path,
    source: Annotated[Path, Option(metavar="STUDY")],
    output: Annotated[Path, Option(metavar="OUT")],
    options: DicomOutOptions,
) -> None:
    """Turn a label file into DICOM objects of the series that it belongs to: SEG, RTSTRUCT, a report of volumes.

    Exit code: 0 written, 2 nothing could be done.

    Args:
        labels: A label map on the grid of the series, an RTSTRUCT or a DICOM SEG.
        source: Folder or zip of the study, or FOLDER#KEY.
        output: Folder for the objects.
        options: What the labels are, and what is written.

    Examples:
        medseg dicom out/case.nii.gz study/ objects/
        medseg dicom liver.nii.gz study/ objects/ --structures liver=1 --manual --write seg,report
    """
    from medseg.commands.dicom.dicom import dicom

    result = dicom(labels, source, output, options)
    record_result(files=result.files, volumes=result.volumes)
    for form, path in result.files.items():
        console.print(f"{form}: {path}", markup=False, soft_wrap=True)
    show_notes(result.notes)
    volumes = ", ".join(f"{name} {volume:.4g} ml" for name, volume in result.volumes.items())
    console.print(f"of {result.series}; {volumes}", markup=False)
