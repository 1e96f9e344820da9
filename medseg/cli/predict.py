"""`medseg predict`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import same_command, show_next_view
from medseg.cli.output.records import emit, record_result
from medseg.commands.predict.options import PredictOptions
from medseg.core.errors import Stopped
from medseg.core.machine.starting import starting
from medseg.core.options import OFTEN, Option
from medseg.core.wording import counted, duration, first_few

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.predict.passed_over import PassedOver
    from medseg.commands.predict.result import PredictResult

_MOST_ROWS = 40
_MOST_COLUMNS = 8
_MOST_COMMANDS = 3
"""Folders that were passed over for which a command is printed."""
_FIGURE_WIDTH = 9
"""Characters of a volume: `1.234e+05` is one of the longest."""
_MODEL = Option("--model -m", "Which model", "MODEL")
_WORKSPACE = Option(group="Where, and what is kept")


def command(
    *,
    source: Annotated[Path, Option(metavar="SCANS")],
    output: Annotated[Path, Option(metavar="OUT")],
    model: Annotated[str | None, _MODEL, OFTEN] = None,
    options: PredictOptions,
    workspace: Annotated[Path, _WORKSPACE, OFTEN] = Path("."),
) -> None:
    """Segment scans: labels on each scan's own grid, in its format, with a table of volumes.

    The answer to CASE_0000.nii.gz is CASE.nii.gz; an answer to any other name has the same name.

    Exit code: 0 all well, 1 some cases failed, 2 nothing could be done.

    Args:
        source: A scan, a DICOM study, or a folder of these.
        output: Folder for the answers.
        model: A run's folder, PLAN/CONFIG, a .medseg package, or a model folder or zip of nnU-Net. May be left out if
            the workspace has one trained model.
        options: How to segment them.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg predict scans/ out/
        medseg predict scan.nii.gz out/ --no-mirror
        medseg predict scans/ out/ --model nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres
        medseg predict scans/ out/ --model model.medseg --continue
        medseg predict scans/ out/ --channels '*_flair.nii.gz,*_t1ce.nii.gz' --folds 0,1 --device cuda:0,cuda:1
    """
    start = time.monotonic()
    with starting():
        from medseg.commands.predict.predict import predict

    try:
        with progress_display() as show:
            result = predict(source, output, model, workspace, options, show)
    except KeyboardInterrupt:
        raise Stopped(
            f"Stopped; what is finished lies in {output}.", "The same command with --continue does the rest."
        ) from None
    seconds = time.monotonic() - start
    _record(result, output, seconds)
    if (table := _volumes_table(result)) is not None:
        console.print(table)
    cases = len(result.files) + len(result.failed)
    show_notes(result.notes, cases)
    show_notes(scan_warnings(result), cases, "warning")
    show_notes(_told(result.passed_over), word="warning")
    console.print(_summary(result, output, seconds), markup=False)
    if result.page is not None:
        console.print(f"look at: {result.page}", markup=False, soft_wrap=True)
    report_failures(result.failed)
    show_next_view(result)
    raise typer.Exit(2 if not result.files else 1 if result.failed else 0)


def scan_warnings(result: PredictResult) -> list[str]:
    """Return warnings on scans and flags of answers, each with the name of its case; the first of many."""
    texts = [f"{case}: {text}" for case in result.files for text in result.doubts(case)]
    more = len(texts) - _MOST_ROWS
    return texts[:_MOST_ROWS] + ([f"and {counted(more, 'more warning')}, see volumes.csv"] if more > 0 else [])


def _told(passed_over: Sequence[PassedOver]) -> list[str]:
    """Return warnings on scans that were passed over; the first have the command that answers them."""
    texts = [entry.told(same_command("predict", entry.path)) for entry in passed_over[:_MOST_COMMANDS]]
    if more := passed_over[_MOST_COMMANDS:]:
        scans, places = sum(entry.scans for entry in more), first_few([str(entry.path) for entry in more])
        texts.append(f"passed over as well: {counted(scans, 'scan')} in {places}")
    return texts


def _record(result: PredictResult, output: Path, seconds: float) -> None:
    """Write the records of a prediction."""
    for case, file in result.files.items():
        state = "kept" if case in result.kept else "done"
        volumes, unit, warnings = result.volumes[case], result.units[case], list(result.warnings.get(case, ()))
        judged = {"quality": result.quality[case].to_json()} if case in result.quality else {}
        emit("case", case=case, state=state, file=file, volumes=volumes, unit=unit, warnings=warnings, **judged)
    record_result(
        folder=output,
        answered=len(result.files),
        kept=len(result.kept),
        passed_over=result.scans_passed_over,
        seconds=round(seconds, 3),
        page=result.page,
    )


def _summary(result: PredictResult, output: Path, seconds: float) -> str:
    """Return a line on the result: how many scans were segmented, how fast, and into which folder."""
    segmented = len(result.files) - len(result.kept)
    text = f"{counted(segmented, 'scan')} segmented in {duration(seconds)}"
    if segmented > 1:
        text += f" ({seconds / segmented:.2g} s each, start included)"
    if result.kept:
        text += f", {len(result.kept)} finished before"
    if result.passed_over:
        text += f", {result.scans_passed_over} passed over"
    return f"{text}; {output} holds the answers, volumes.csv the volumes, labels.json the names"


def _fit_beside(columns: Sequence[str], rows: Sequence[str]) -> bool:
    """Return whether a table with these headings is no wider than the terminal, so that every name is whole."""
    widths = [max(len(name), _FIGURE_WIDTH) for name in columns]
    first = max(map(len, [*rows, "structure"]))
    return len(columns) <= _MOST_COLUMNS and first + sum(widths) + 3 * (len(columns) + 1) + 1 <= console.width


def _volumes_table(result: PredictResult) -> Table | None:
    """Return a table of the volume of each structure in each case, with the first rows of many.

    Structures are the columns, or cases where they fit better; None if there are too many of both.
    """
    from rich.markup import escape
    from rich.table import Table

    structures, cases = list(next(iter(result.volumes.values()), {})), list(result.volumes)
    units = ", ".join(sorted(set(result.units.values())))
    too_wide = not _fit_beside(structures, cases) and _fit_beside(cases, structures)
    transposed = len(structures) > _MOST_COLUMNS or too_wide
    columns, rows = (cases, structures) if transposed else (structures, cases)
    if not columns or len(columns) > _MOST_COLUMNS:
        return None
    table = Table("structure" if transposed else "case", title=f"volumes ({units})", title_justify="left")
    for name in columns:
        table.add_column(escape(name), justify="right", overflow="fold")
    for row in rows[:_MOST_ROWS]:
        pairs = [(column, row) if transposed else (row, column) for column in columns]
        table.add_row(escape(row), *(f"{result.volumes[case][structure]:.4g}" for case, structure in pairs))
    if len(rows) > _MOST_ROWS:
        table.add_row(f"... and {len(rows) - _MOST_ROWS} more", *("" for _ in columns))
    return table
