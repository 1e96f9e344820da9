"""`medseg view`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from medseg.cli.output.display import console, show_note
from medseg.cli.output.records import record_result
from medseg.commands.view.options import ViewOptions
from medseg.core.options import Option


def command(
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
        scan: Scan: a file, or a DICOM series as FOLDER#KEY.
        answers: Label files on its grid, shown beside each other.
        options: What to show beside them, and where to write the page.
        no_open: Write the page without opening it.

    Examples:
        medseg view scan.nii.gz out/scan.nii.gz
        medseg view scan.nii.gz out/scan.nii.gz --reference labels/scan.nii.gz
        medseg view 'study/#9d3c41' out/study.nii.gz --output look.html
        medseg view slide.png mask.png --structures nucleus=1
    """
    from medseg.commands.view.view import view

    result = view(scan, answers or [], options)
    for note in result.notes:
        show_note(note)
    record_result(page=result.page, structures=result.structures, notes=result.notes)
    size = result.page.stat().st_size / 1e6
    console.print(f"look at: {result.page} ({size:.1f} MB)", markup=False, highlight=False, soft_wrap=True)
    if not no_open and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(result.page.resolve().as_uri())
