"""`medseg verify` and `medseg report`, which read the records of earlier commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.records import emit, record_result
from medseg.core.options import Option

_MOST_SHOWN = 40


def verify_command(
    *,
    folder: Annotated[Path, Option(metavar="OUT")],
    source: Sequence[Path] = (),
    model: Annotated[Path | None, Option("--model -m")] = None,
) -> None:
    """Compare files with manifest.json beside them: which changed, are missing, or are new.

    Exit code: 0 all is as it was, 1 something changed, is missing or new, 2 there is no manifest.

    Args:
        folder: Folder of answers, of scores, or of a run.
        source: Folder of the scans or references, whose hashes are compared too; repeatable.
        model: Folder or file of the model, whose weights are compared too.

    Examples:
        medseg verify out/
        medseg verify out/ --source scans/ --model liver.medseg
        medseg verify runs/liver/3d_fullres
    """
    from rich.markup import escape
    from rich.table import Table

    from medseg.commands.records.verify import verify

    with progress_display() as show:
        result = verify(folder, source, model, show)
    for file in result.changes:
        emit("file", state=file.state, role=file.role, command=file.command or None, file=file.file)
    if result.changes:
        table = Table("state", "file", "is", box=None, pad_edge=False, header_style="bold")
        for file in result.changes[:_MOST_SHOWN]:
            role = f"{file.role} of {file.command}" if file.command else "in no manifest"
            table.add_row(f"[bold red]{file.state}[/]", escape(file.file), role)
        if len(result.changes) > _MOST_SHOWN:
            table.add_row("...", f"and {len(result.changes) - _MOST_SHOWN} more", "")
        console.print(table)
    show_notes(result.notes)
    states = Counter(file.state for file in result.files)
    counts = {state: states[state] for state in ("same", "changed", "missing", "new", "unreadable")}
    record_result(**counts)
    console.print(", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "same"))
    raise typer.Exit(1 if result.changes else 0)


def report_command(
    *, run: Annotated[str | None, Option(positional=True)] = None, data: Path | None = None, workspace: Path = Path(".")
) -> None:
    """Make the page of a training run again: report.html in each fold's folder.

    Exit code: 0 all well, 1 a page has no scores of some cases, or of all, 2 nothing was made.

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
        result = report(run, workspace, data, show)
    record_result(files=result.files)
    for path in result.files:
        console.print(f"  {path}", markup=False, soft_wrap=True)
    report_failures(result.failed, what="fold or case", outcome="without scores")
    raise typer.Exit(1 if result.failed else 0)
