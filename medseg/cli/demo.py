"""`medseg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures
from medseg.cli.output.next_command import show_next_view
from medseg.cli.output.records import record_result
from medseg.core.options import Option, parse_duration, write_duration


def command(
    *,
    folder: Annotated[Path, Option(positional=True)] = Path("medseg-demo"),
    budget: Annotated[float, Option("", None, "TIME", parse_duration, write_duration)] = 75.0,
) -> None:
    """Try everything on a generated phantom: make scans, plan, train, segment, score. About two minutes on two cores.

    Args:
        folder: Folder for all of it.
        budget: Time for training, such as 75s or 5m.

    Examples:
        medseg demo
        medseg demo /tmp/demo --budget 5m
    """
    from medseg.cli.output.tables import headline_table, scores_record, scores_table
    from medseg.commands.demo.demo import demo

    def show_command(text: str) -> None:
        console.print(f"\n[bold cyan]$ {text}[/]")

    with progress_display() as show:
        result = demo(folder, budget, show, show_command)
    record_result(folder=result.folder, **scores_record(result.evaluation.summary))
    console.print(scores_table(result.evaluation.summary))
    console.print(headline_table(result.evaluation.summary))
    console.print("Pages to look at in a browser:")
    for page in sorted(result.folder.rglob("report.html")):
        console.print(f"  {page}", markup=False)
    failed = result.plan.failed | result.training.failed | result.prediction.failed | result.evaluation.summary.failed
    report_failures(failed)
    show_next_view(result.prediction)
    raise typer.Exit(1 if failed else 0)
