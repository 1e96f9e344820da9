"""`medseg info` and `medseg view`: what a file holds, in words and as a page."""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, report_failures, show_notes
from medseg.cli.output.next_command import show_next
from medseg.cli.output.records import emit, record_result
from medseg.commands.view.options import ViewOptions
from medseg.core.options import Option

if TYPE_CHECKING:
    from medseg.commands.data.info import FileInfo

_MOST_VALUES = 40
"""Values of a label map that are printed; --json has all of them."""


def info_command(*, files: list[Path]) -> None:
    """Print what files hold: grid, spacing, values, the names of structures, and what medseg takes them for.

    Exit code: 0 all could be read, 1 some could not, 2 none.

    Args:
        files: Scans or label files, or DICOM series as FOLDER#KEY (medseg series lists them).

    Examples:
        medseg info scan.nii.gz
        medseg info scan.nii.gz liver.seg.nrrd slide.tif
        medseg info 'study#3f2a90c1d4' --json
    """
    from medseg.commands.data.info import info
    from medseg.core.errors import DataError, MedsegError

    failed: dict[str, str] = {}
    files = [*dict.fromkeys(files)]
    for number, path in enumerate(files):
        try:
            known = info(path)
        except MedsegError as error:
            if len(files) == 1:
                raise
            failed[str(path)] = str(error)
            continue
        emit("info", **_record(known))
        console.print("\n" * bool(number) + str(path), style="bold", markup=False, highlight=False)
        _print(known)
    if len(failed) == len(files):
        raise DataError("None of the files could be read:\n" + "\n".join(failed.values()))
    record_result(files=len(files), failed=failed)
    report_failures(failed, "file", "could not be read")
    show_next("view", next(path for path in files if str(path) not in failed))
    if failed:
        raise typer.Exit(1)


def _record(known: FileInfo) -> dict[str, object]:
    return {
        "file": known.path,
        "format": known.format,
        "shape_zyx": known.shape_zyx,
        "volumes": known.volumes,
        "components": known.components,
        "dtype": known.dtype,
        "spacing_mm": known.spacing_mm,
        "axes": known.axes or None,
        "low": known.low,
        "high": known.high,
        "percentiles": {str(percent): value for percent, value in known.percentiles.items()},
        "not_finite": known.not_finite,
        "labels": [
            {"value": part.value, "name": part.name or None, "voxels": part.voxels, "volume_ml": part.volume_ml}
            for part in known.labels
        ],
        "read_as": known.read_as,
        "notes": known.notes,
    }


def _print(known: FileInfo) -> None:
    """Print a file's facts, one a line."""
    times = "".join(f", {number} {name}" for number, name in _several(known))
    lines = {
        "read as": known.read_as,
        "grid": f"{' x '.join(map(str, known.shape_zyx))} voxels (z, y, x){times}, {known.dtype}",
        "spacing": _spacing(known),
        "axes": f"the stored x, y and z run to {', '.join(known.axes)}" if known.axes else "not in the file",
        "values": _values(known),
    }
    for name, text in lines.items():
        console.print(f"  {name:<8} {text}", markup=False, highlight=False, soft_wrap=True)
    voxels = prod(known.shape_zyx)  # in layers, structures may share voxels
    for part in known.labels[:_MOST_VALUES]:
        volume = "" if part.volume_ml is None else f"  {part.volume_ml:10.3f} ml"
        share = f"{part.voxels / voxels:8.3%}"
        console.print(f"    {part.value:>6} {share}{volume}  {part.name}".rstrip(), markup=False, highlight=False)
    if len(known.labels) > _MOST_VALUES:
        console.print(f"    and {len(known.labels) - _MOST_VALUES} more values; --json has them", markup=False)
    for note in known.notes:
        console.print(f"  note: {note}", markup=False, highlight=False)


def _several(known: FileInfo) -> list[tuple[int, str]]:
    counts = ((known.volumes, "volumes"), (known.components, "values a voxel"))
    return [(number, name) for number, name in counts if number > 1]


def _spacing(known: FileInfo) -> str:
    if known.spacing_mm is None:
        return "not in the file"
    size = " x ".join(f"{step * count:.4g}" for step, count in zip(known.spacing_mm, known.shape_zyx, strict=True))
    steps = " x ".join(f"{step:.4g}" for step in known.spacing_mm)
    return f"{steps} mm (z, y, x), {size} mm in all"


def _values(known: FileInfo) -> str:
    if known.low is None or known.high is None:
        return "none of them is finite"
    if known.labels:
        in_layers = known.volumes * known.components > 1
        return f"{len(known.labels)} structures in layers" if in_layers else f"{len(known.labels)} different ones"
    middle = ", ".join(f"{percent} %: {value:.6g}" for percent, value in known.percentiles.items())
    bad = f"; {known.not_finite:,} NaN or infinite" if known.not_finite else ""
    return f"{known.low:.6g} to {known.high:.6g} ({middle}){bad}"


def view_command(
    *,
    scan: Path,
    answers: Annotated[list[Path] | None, Option(positional=True)] = None,
    options: ViewOptions,
    no_open: bool = False,
) -> None:
    """Look at a scan with the structures of label files: three planes and 3D in a browser, side by side.

    Writes one HTML page that needs no network and can be sent to a colleague, and opens it when run in a terminal. It
    holds the scan: treat it as you treat the scan itself.

    Exit code: 0, or 2 if a file cannot be read or a label file lies on another grid.

    Args:
        scan: Scan: a file, a DICOM study with one series, or a series as FOLDER#KEY.
        answers: Label files on its grid, shown beside each other; a folder of answers stands for the one to the scan.
        options: What to show beside them, and where to write the page.
        no_open: Write the page without opening it.

    Examples:
        medseg view scan.nii.gz out/scan.nii.gz
        medseg view scan.nii.gz out/scan.nii.gz --reference labels/scan.nii.gz
        medseg view study/ out/study.seg.dcm --output look.html
        medseg view slide.png mask.png --structures nucleus=1
    """
    from medseg.commands.view.view import view

    result = view(scan, answers or [], options)
    show_notes(result.notes)
    record_result(page=result.page, structures=result.structures, notes=result.notes)
    size = result.page.stat().st_size / 1e6
    console.print(f"look at: {result.page} ({size:.1f} MB)", markup=False, highlight=False, soft_wrap=True)
    if not no_open and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(result.page.resolve().as_uri())
