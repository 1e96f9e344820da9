"""`medseg series`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display
from medseg.cli.output.next_command import show_next
from medseg.cli.output.records import emit, record_result
from medseg.core.options import Option

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.data.series import SeriesResult
    from medseg.io.dicom.elements.series import Series

_MOST_VOLUMES = 6


def command(
    *, folder: Path, rule: Annotated[str | None, Option("--series", metavar="RULE")] = None, left_out: bool = False
) -> None:
    """List the DICOM series in a folder: what they are, their geometry, and why some cannot be read as a volume.

    Geometry is taken from the positions of slices only. One series that holds several volumes (b-values, echoes, points
    in time, stacks) is listed as several. The key of a volume never changes: FOLDER#KEY can be given wherever a file
    can.

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
    for listed in result.series:
        emit("series", **series_record(listed))
    for omitted in result.listing.left_out:
        emit("left_out", file=omitted.file, why=omitted.reason)
    record_result(series=len(result.series), left_out=result.listing.counts())
    if result.series:
        console.print(_table(result.series))
    _print_problems(result)
    _print_left_out(result, left_out)
    readable = next((listed for listed in result.series if not listed.problems), None)
    if readable is not None:
        show_next("info", readable.path)
    if not result.series:
        chosen = f" that {rule} fits" if rule is not None and result.listing.series else ""
        console.print(f"{folder} holds no series of DICOM images{chosen}.", markup=False)
    raise typer.Exit(result.exit_code)


def _table(listed: tuple[Series, ...]) -> Table:
    """Return a table with a row for each volume; of a series of many volumes, for the first few."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("key", no_wrap=True)
    table.add_column("description", overflow="fold")
    table.add_column("plane", overflow="fold")
    table.add_column("grid\nz x y x x", justify="right", no_wrap=True)
    table.add_column("spacing\nmm", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    several, folder = len({series.folder for series in listed}) > 1, None
    for _, group in groupby(listed, key=lambda series: (series.study_uid, series.uid)):
        volumes = list(group)
        if several and volumes[0].folder != folder:
            folder = volumes[0].folder
            table.add_row("", "", Text(f"in {folder}", style="dim"), "", "", "", "")
        for volume in volumes[:_MOST_VOLUMES]:
            kinds = "\n".join(problem.kind for problem in volume.problems)
            grid = "x".join(map(str, volume.shape_zyx))
            description = f"{volume.modality} {volume.description}".strip()
            description = ", ".join(part for part in (description, volume.volume_name) if part)
            state = Text(kinds or "ok", style="bold red" if kinds else "green")
            number = "" if volume.number is None else str(volume.number)
            table.add_row(number, volume.key, Text(description), volume.plane, grid, _spacing(volume), state)
        if len(volumes) > _MOST_VOLUMES:
            more = f"and {len(volumes) - _MOST_VOLUMES} more, to {volumes[-1].volume_name}"
            table.add_row("", "...", more, "", "", "", "")
    return table


def _spacing(volume: Series) -> str:
    return "x".join(f"{value:.3g}" if value else "?" for value in volume.spacing_mm)


def _print_problems(result: SeriesResult) -> None:
    """Print what keeps series from being volumes, and what else is worth knowing of them."""
    from medseg.io.dicom.elements.series import FLAGS_TO_READ

    for series in result.series:
        if not series.problems and not series.notes:
            continue
        console.print(f"\n[bold red]{series.key}[/]", end=" ")
        folder = "" if series.folder == "." else f" in {series.folder}"
        console.print(f"{series.title.rpartition(' [')[0]}{folder}", markup=False, soft_wrap=True)
        for problem in series.problems:
            option = f" ({FLAGS_TO_READ[problem.option]} resamples it)" if problem.option else ""
            console.print(f"  {problem.message}{option}", markup=False)
        for note in series.notes:
            console.print(f"  {note}", markup=False)


def _print_left_out(result: SeriesResult, names: bool) -> None:
    """Print how many files are in no series, and why; with `names` every one of them, else the damaged ones."""
    left_out = result.listing.left_out
    if not left_out:
        return
    counts = ", ".join(f"{count} {why}" for why, count in result.listing.counts().items())
    console.print(f"\nleft out: {counts}", markup=False, soft_wrap=True)
    for file in left_out:
        if names or file in result.listing.damaged:
            console.print(f"  {file.file}: {file.reason}", markup=False, soft_wrap=True)
