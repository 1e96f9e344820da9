"""`medseg train`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.display import console, duration, parse_duration, progress_display, report_failures

_BEGAN = time.monotonic()


def command(
    fold: Annotated[str, typer.Option(help="Fold to train, 0 to 4, or all: every case, none kept apart.")] = "0",
    plan: Annotated[str | None, typer.Option(help="Plan to train, if there are several.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration: 2d, 3d_fullres, ...")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wall-clock time of the whole command: 5m, 2h. Anneals within it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps, instead of the plan's.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for the plan; repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")] = "auto",
    data: Annotated[Path | None, typer.Option(help="Where the data set lies, if not where the plan says.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
) -> None:
    """Train a fold of the plan, then segment and score its validation cases.

    [bold]Examples[/]

    medseg train

    medseg train --fold 0 --budget 20m

    medseg train --plan liver --config 2d --set training.learning_rate=0.003

    medseg train --resume
    """
    from medseg.cli.tables import headline, table
    from medseg.commands.train import TrainOptions, train

    options = TrainOptions(
        fold=fold,
        configuration=config,
        budget_seconds=parse_duration(budget),
        steps=steps,
        overrides=set_ or [],
        resume=resume,
        device=device,
        data=data,
        started=_BEGAN,
    )
    with progress_display() as show:
        result = train(plan, workspace, options, show)
    if result.summary is not None:
        console.print(table(result.summary))
        console.print(headline(result.summary))
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    record = result.record
    console.print(
        f"{record['steps']} steps in {duration(record['seconds'])}; {result.folder} holds the model", markup=False
    )
    console.print(f"look at: {result.folder / 'report.html'}", markup=False)
    console.print(f"repeat exactly with: medseg train {record['repeat_with']}", markup=False)
    report_failures(result.failed, "cases failed")
    raise typer.Exit(1 if result.failed else 0)
