"""`medseg train`."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.display import console, duration, parse_duration, progress_display, report_failures, show_note
from medseg.cli.records import no_records, record_result
from medseg.core.wording import counted

if TYPE_CHECKING:
    from medseg.commands.train.options import Extension

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
    init: Annotated[
        str | None, typer.Option(help="Model to start from: PLAN/CONFIG, a folder, a .medseg file, nnU-Net's.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="nnunet: train as nnU-Net does, whatever the plan says.")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint; --set changes the run from there on."),
    ] = False,
    extend: Annotated[
        str | None,
        typer.Option(help="Train a finished run further: 2x in all, 5000 more steps, or for another 20m."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, mps or cpu.")] = "auto",
    data: Annotated[Path | None, typer.Option(help="Where the data set lies, if not where the plan says.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with plans/, runs/ and cache/.")] = Path("."),
) -> None:
    """Train a fold of the plan, then segment and score its validation cases.

    [bold]Examples[/]

    medseg train

    medseg train --fold 0 --budget 20m

    medseg train --plan liver --config 2d --set training.learning_rate=0.003

    medseg train --init liver/3d_fullres --set training.encoder_learning_rate=0.1

    medseg train --fold 0 --resume

    medseg train --fold 0 --resume --set training.learning_rate=0.001

    medseg train --fold 0 --extend 2x
    """
    from medseg.cli.scores import scores
    from medseg.cli.start import start_shown
    from medseg.cli.tables import headline, table
    from medseg.commands.train.options import TrainOptions
    from medseg.commands.train.train import train
    from medseg.networks.threads import use_cores
    from medseg.training.step.ranks import rank_from_environment

    use_cores()
    first = rank_from_environment() == 0  # of several processes, the one that says everything
    if not first:
        console.quiet = True
        no_records()
    options = TrainOptions(
        fold=fold,
        configuration=config,
        budget_seconds=parse_duration(budget),
        steps=steps,
        overrides=set_ or [],
        init=init,
        recipe=recipe,
        resume=resume,
        extend=_extension(extend),
        device=device,
        data=data,
        started=_BEGAN,
    )
    with progress_display() as show:
        result = train(plan, workspace, options, start_shown(show))
    if not first:
        raise typer.Exit
    if not result.trained:
        for note in result.notes:
            show_note(note)
    if result.summary is not None:
        console.print(table(result.summary))
        console.print(headline(result.summary))
    record = result.record
    record_result(folder=result.folder, **scores(result.summary), steps=record["steps"], seconds=record["seconds"])
    console.print(
        f"{counted(record['steps'], 'step')} in {duration(record['seconds'])}; {result.folder} holds the model",
        markup=False,
    )
    console.print(f"look at: {result.folder / 'report.html'}", markup=False)
    if record.get("repeat_with"):
        console.print(f"repeat exactly with: medseg train {record['repeat_with']}", markup=False)
    elif record.get("changes"):
        console.print("No single command repeats this run: it was changed on the way, as report.html and run.json say.")
    report_failures(result.failed)
    raise typer.Exit(1 if result.failed else 0)


def _extension(text: str | None) -> Extension | None:
    """`2x`, `5000` or `20m`.

    Raises:
        BadParameter: it is none of them.
    """
    from medseg.commands.train.options import Extension

    if text is None:
        return None
    if re.fullmatch(r"\d+(?:\.\d+)?x", text):
        return Extension(factor=float(text[:-1]))
    if text.isdigit():
        return Extension(steps=int(text))
    try:
        return Extension(seconds=parse_duration(text))
    except typer.BadParameter:
        raise typer.BadParameter(
            f"--extend {text}: write 2x (twice as many steps in all), 5000 (so many more) or 20m (so much longer)."
        ) from None
