"""`medseg report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.display import console, progress_display
from medseg.cli.records import record_result


def command(
    run: Annotated[
        str | None, typer.Argument(help="A run's or a fold's folder, or PLAN/CONFIG; the only one if left out.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the data set lies now.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
) -> None:
    """Make the page of a training run anew: report.html in each fold's folder.

    [bold]Examples[/]

    medseg report

    medseg report runs/liver/3d_fullres/fold_0
    """
    from medseg.commands.records.report import report

    with progress_display() as show:
        files = report(run, workspace, data, show)
    record_result(files=files)
    for path in files:
        console.print(f"  {path}", markup=False, soft_wrap=True)
