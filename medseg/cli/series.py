"""`medseg series`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.display import console, progress_display
from medseg.cli.records import emit, record_result
from medseg.core.options import Option

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.data.series import SeriesResult
    from medseg.io.dicom.elements.series import LeftOut, Series

_MOST_PARTS = 6
_FLAGS = {"resample_tilt": "--resample-tilt", "allow_gaps": "--allow-gaps"}


def command(
    *, folder: Path, rule: Annotated[str | None, Option("--series", metavar="RULE")] = None, left_out: bool = False
) -> None:
    """List the DICOM series in a folder: what they are, how they lie, and what keeps them from being a volume.

    Geometry is taken from the positions of slices only. One series that holds several volumes (b-values, echoes, points
    in time, stacks) is listed as several. The key names a volume for good: FOLDER#KEY can stand wherever a file can.

    Exit code: 0 every series is a volume, 1 some are not or a file is damaged, 2 there is none.

    Args:
        folder: Folder (nested, mixed with other files), zip, DICOMDIR, or one file.
        rule: Show only what this chooses: a number, a key, a SeriesInstanceUID, or rules on attributes, joined by
            commas for 'and'. Signs: = != ~ (contains, a regular expression) < > <= >=.
        left_out: Name every file that is in no series.

    Examples:
        medseg series study/
        medseg series study.zip --series Modality=CT,SeriesDescription~thorax
        medseg series study/ --series 4 --json
    """
    from medseg.commands.data.series import series, series_record

    with progress_display() as show:
        result = series(folder, rule, show)
    for one in result.series:
        emit("series", **series_record(one))
    for gone in result.listing.left_out:
        emit("left_out", file=gone.file, why=gone.reason)
    record_result(series=len(result.series), left_out=result.listing.counts())
    if result.series:
        console.print(_table(result.series))
    _say_what_is_wrong(result)
    _say_what_is_left_out(result, left_out)
    if not result.series:
        chosen = f" that {rule} fits" if rule is not None and result.listing.series else ""
        console.print(f"{folder} holds no series of DICOM images{chosen}.", markup=False)
    raise typer.Exit(result.exit_code)


def _table(found: tuple[Series, ...]) -> Table:
    """A row a volume; of a series of many volumes, the first few."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("no.", justify="right", no_wrap=True)
    drawn.add_column("key", no_wrap=True)
    drawn.add_column("description", overflow="fold")
    drawn.add_column("plane", overflow="fold")
    drawn.add_column("grid\nz x y x x", justify="right", no_wrap=True)
    drawn.add_column("spacing\nmm", justify="right", no_wrap=True)
    drawn.add_column("", overflow="fold")
    for _, group in groupby(found, key=lambda one: (one.study_uid, one.uid)):
        parts = list(group)
        for one in parts[:_MOST_PARTS]:
            kinds = "\n".join(problem.kind for problem in one.problems)
            grid = "x".join(map(str, one.shape_zyx))
            what = ", ".join(part for part in (f"{one.modality} {one.description}".strip(), one.volume_name) if part)
            state = Text(kinds or "ok", style="bold red" if kinds else "green")
            number = "" if one.number is None else str(one.number)
            drawn.add_row(number, one.key, Text(what), one.plane, grid, _spacing(one), state)
        if len(parts) > _MOST_PARTS:
            drawn.add_row("", "...", f"and {len(parts) - _MOST_PARTS} more, to {parts[-1].volume_name}", "", "", "", "")
    return drawn


def _spacing(one: Series) -> str:
    return "x".join(f"{value:.3g}" if value else "?" for value in one.spacing_mm)


def _say_what_is_wrong(result: SeriesResult) -> None:
    for one in (one for one in result.series if one.problems or one.notes):
        console.print(f"\n[bold red]{one.key}[/]", end=" ")
        place = "" if one.folder == "." else f" in {one.folder}"
        console.print(f"{one.title.rpartition(' [')[0]}{place}", markup=False, soft_wrap=True)
        for problem in one.problems:
            option = f" ({_FLAGS[problem.option]} resamples it)" if problem.option else ""
            console.print(f"  {problem.message}{option}", markup=False)
        for note in one.notes:
            console.print(f"  {note}", markup=False)


def _say_what_is_left_out(result: SeriesResult, names: bool) -> None:
    gone: tuple[LeftOut, ...] = result.listing.left_out
    if not gone:
        return
    counts = result.listing.counts()
    console.print(
        f"\nleft out: {', '.join(f'{count} {why}' for why, count in counts.items())}", markup=False, soft_wrap=True
    )
    for one in gone:
        if names or one in result.listing.damaged:
            console.print(f"  {one.file}: {one.reason}", markup=False, soft_wrap=True)
