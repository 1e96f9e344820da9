"""`medseg predict`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from medseg.cli.data_options import AllowGaps, ResampleTilt, Series
from medseg.cli.display import console, duration, progress_display, report_failures, show_note
from medseg.cli.records import emit, record_result
from medseg.core.errors import MedsegError
from medseg.core.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.predict.options import PredictOptions
    from medseg.commands.predict.result import PredictResult

_NNUNETS = {
    "-i": "SCANS and OUT come first, without -i and -o: medseg predict IN OUT",
    "-o": "SCANS and OUT come first, without -i and -o: medseg predict IN OUT",
    "-d": "name the model's folder: --model nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION",
    "-chk": "--checkpoint best",
    "-device": "--device cpu",
    "-step_size": "--set inference.step_fraction=0.5",
    "--disable_tta": "--no-mirror",
    "--continue_prediction": "--continue",
    "--save_probabilities": "--probabilities",
    "-npp": "leave it out: there are no worker processes",
    "-nps": "leave it out: there are no worker processes",
    "-num_parts": "--device cuda:0,cuda:1 shares the scans in one command",
}
_MOST_ROWS = 40
_MOST_COLUMNS = 8
_MODEL, _SCANS, _HOW, _MAPS, _WHERE = "Which model", "Which scans", "How", "What else", "Where and what is kept"
_DICOM = "DICOM answers"


class Command(TyperCommand):
    """The verb, which knows nnU-Net's options and says what they are called here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for arg, following in zip(args, [*args[1:], ""], strict=True):
            if arg in _NNUNETS:
                raise typer.BadParameter(f"{arg} is nnU-Net's option; here: {_NNUNETS[arg]}", ctx)
            if arg in ("-f", "--folds") and "," not in following:
                folds = list(takewhile(str.isdigit, args[args.index(arg) + 1 :]))
                if len(folds) > 1:
                    raise typer.BadParameter(f"folds are joined by commas: {arg} {','.join(folds)}", ctx)
        return super().parse_args(ctx, args)


def command(
    source: Annotated[Path, typer.Argument(help="A scan, a DICOM study, or a folder of these.", metavar="SCANS")],
    output: Annotated[Path, typer.Argument(help="Folder for the answers.", metavar="OUT")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A run's folder, PLAN/CONFIG, a .medseg package, or a model folder or zip of nnU-Net's. "
            "May be left out if the workspace has one trained model.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Configuration: 2d, 3d_fullres, ...", rich_help_panel=_MODEL)
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            "--folds",
            "-f",
            help="Folds to average, such as 0,1,2; all trained unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Of nnU-Net's models: final, best, latest, or a file's name.", rich_help_panel=_MODEL),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="One file pattern a channel: '*_flair.nii.gz,*_t1.nii.gz'; * is the case.", rich_help_panel=_SCANS
        ),
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(min=0, help="Which volume of a time series is the scan, from 0.", rich_help_panel=_SCANS),
    ] = None,
    series: Series = None,
    resample_tilt: ResampleTilt = False,
    allow_gaps: AllowGaps = False,
    mirror: Annotated[
        bool | None,
        typer.Option(
            "--mirror/--no-mirror",
            help="Average over mirrored copies; the plan's choice unless given.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Trade some accuracy for time: larger steps, no mirrored copies, empty tiles left out. "
            "docs/inference.md says what it costs.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    write: Annotated[
        str | None,
        typer.Option(
            help="What is written of DICOM scans: some of nifti,seg,rtstruct,report (volumes, with a seg); nifti,seg "
            "unless given. Other scans are answered in their own format.",
            rich_help_panel=_DICOM,
        ),
    ] = None,
    labelmap: Annotated[
        bool,
        typer.Option("--labelmap", help="DICOM SEG of the type LABELMAP, not BINARY.", rich_help_panel=_DICOM),
    ] = False,
    codes: Annotated[
        str | None,
        typer.Option(
            help="What structures are in coded words, where their names do not say: a CSV, or 'Anterior=anterior "
            "hippocampus,...' with names of the table. docs/dicom.md has the columns.",
            rich_help_panel=_DICOM,
        ),
    ] = None,
    generic_codes: Annotated[
        bool,
        typer.Option(
            "--generic-codes", help="Structures without codes are 'Tissue' and their name.", rich_help_panel=_DICOM
        ),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also a map a structure of its probability.", rich_help_panel=_MAPS),
    ] = False,
    entropy: Annotated[
        bool, typer.Option("--entropy", help="Also a map of doubt, from 0 to 1.", rich_help_panel=_MAPS)
    ] = False,
    spread: Annotated[
        bool,
        typer.Option(
            "--spread",
            help="Also maps of each probability's mean and standard deviation over folds and mirrored copies.",
            rich_help_panel=_MAPS,
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for the plan; repeatable.", rich_help_panel=_HOW),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="auto, cuda, cuda:1, mps or cpu; several share the scans: cuda:0,cuda:1, or all.",
            rich_help_panel=_WHERE,
        ),
    ] = "auto",
    keep: Annotated[
        bool,
        typer.Option(
            "--continue", help="Skip what an earlier run of this command finished in OUT.", rich_help_panel=_WHERE
        ),
    ] = False,
    identify: Annotated[
        bool,
        typer.Option(
            "--identify",
            help="Name patients in manifest.json: PatientID and the UIDs of DICOM, which stand nowhere otherwise.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    workspace: Annotated[
        Path, typer.Option(help="Folder with plans/, runs/ and cache/.", rich_help_panel=_WHERE)
    ] = Path("."),
) -> None:
    """Segment scans: labels on each scan's own grid, in its format, with a table of volumes.

    CASE_0000.nii.gz is answered by CASE.nii.gz, any other name by the same name.

    [bold]Examples[/]

    medseg predict scans/ out/

    medseg predict scan.nii.gz out/ --no-mirror

    medseg predict scans/ out/ --model nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres

    medseg predict scans/ out/ --model model.medseg --continue

    medseg predict scans/ out/ --channels '*_flair.nii.gz,*_t1ce.nii.gz' --folds 0,1 --device cuda:0,cuda:1

    [bold]Exit code[/]: 0 all well, 1 some cases failed, 2 nothing could be done.
    """
    began = time.monotonic()
    options = options_of(locals())
    from medseg.commands.predict.predict import predict

    try:
        with progress_display() as show:
            result = predict(source, output, model, workspace, options, show)
    except KeyboardInterrupt:
        raise MedsegError(
            f"Stopped; what is finished lies in {output}.", "The same command with --continue does the rest."
        ) from None
    _record(result, output, time.monotonic() - began)
    if (table := _volumes(result)) is not None:
        console.print(table)
    for note in result.notes:
        show_note(note)
    console.print(_summary(result, output, time.monotonic() - began), markup=False)
    report_failures(result.failed)
    raise typer.Exit(2 if not result.files else 1 if result.failed else 0)


def options_of(asked: Mapping[str, Any]) -> PredictOptions:
    """The options of a prediction from the arguments of `command`, by their names."""
    from medseg.commands.predict.options import PredictOptions
    from medseg.delivery.answers.options import Maps, WriteOptions

    folds, channels = asked["folds"], asked["channels"]
    forms = asked["write"].split(",") if asked["write"] else ()
    return PredictOptions(
        configuration=asked["config"],
        folds=list(dict.fromkeys(fold.strip() for fold in folds.split(","))) if folds else None,
        checkpoint=asked["checkpoint"],
        fast=asked["fast"],
        mirror=asked["mirror"],
        channels=channels.split(",") if channels else None,
        frame=asked["frame"],
        series=asked["series"] or [],
        resample_tilt=asked["resample_tilt"],
        allow_gaps=asked["allow_gaps"],
        device=asked["device"],
        keep_finished=asked.get("keep", False),
        maps=Maps(asked["probabilities"], asked["entropy"], asked["spread"]),
        write=WriteOptions(forms, asked["labelmap"], asked["codes"], asked["generic_codes"]),
        identify=asked["identify"],
        overrides=asked["set_"] or [],
    )


def _record(result: PredictResult, output: Path, seconds: float) -> None:
    """The same for programs."""
    for case, file in result.files.items():
        state = "kept" if case in result.kept else "done"
        emit("case", case=case, state=state, file=file, volumes=result.volumes[case], unit=result.units[case])
    record_result(folder=output, answered=len(result.files), kept=len(result.kept), seconds=round(seconds, 3))


def _summary(result: PredictResult, output: Path, seconds: float) -> str:
    """What was done, how fast, and where it lies."""
    made = len(result.files) - len(result.kept)
    text = f"{counted(made, 'scan')} segmented in {duration(seconds)}"
    if made > 1:
        text += f" ({seconds / made:.2g} s each, start included)"
    if result.kept:
        text += f", {len(result.kept)} finished before"
    return f"{text}; {output} holds the answers, volumes.csv the volumes, labels.json the names"


def _volumes(result: PredictResult) -> Table | None:
    """Volume of each structure in each case, the first ones of many; none where neither fits the screen's width."""
    from rich.markup import escape
    from rich.table import Table

    structures, cases = list(next(iter(result.volumes.values()), {})), list(result.volumes)
    units = ", ".join(sorted(set(result.units.values())))
    across, turned = (structures, False) if len(structures) <= _MOST_COLUMNS else (cases, True)
    down = structures if turned else cases
    if not across or len(across) > _MOST_COLUMNS:
        return None
    table = Table("structure" if turned else "case", title=f"volumes ({units})", title_justify="left")
    for name in across:
        table.add_column(escape(name), justify="right")
    for row in down[:_MOST_ROWS]:
        pairs = [(name, row) if turned else (row, name) for name in across]
        table.add_row(escape(row), *(f"{result.volumes[case][structure]:.4g}" for case, structure in pairs))
    if len(down) > _MOST_ROWS:
        table.add_row(f"... and {len(down) - _MOST_ROWS} more", *("" for _ in across))
    return table
