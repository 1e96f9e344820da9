"""`medseg report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from medseg.cli.display import console, progress_display
from medseg.cli.records import record_result
from medseg.core.options import Option


def command(
    *, run: Annotated[str | None, Option(positional=True)] = None, data: Path | None = None, workspace: Path = Path(".")
) -> None:
    """Make the page of a training run again: report.html in each fold's folder.

    Args:
        run: Folder of a run or a fold, or PLAN/CONFIG; may be left out if there is only one run.
        data: Folder of the data set, if it is not where the plan says.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg report
        medseg report runs/liver/3d_fullres/fold_0
    """
    from medseg.commands.records.report import report

    with progress_display() as show:
        files = report(run, workspace, data, show)
    record_result(files=files)
    for path in files:
        console.print(f"  {path}", markup=False, soft_wrap=True)
