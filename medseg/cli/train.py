"""`medseg train`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.records import no_records, record_result
from medseg.commands.train.options import TrainOptions
from medseg.core.machine.starting import starting
from medseg.core.machine.tuning import tune_for_training
from medseg.core.options import OFTEN
from medseg.core.progress import Callback, Progress
from medseg.core.wording import counted, duration

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.models.encoder_weights import EncoderWeights
    from medseg.models.matching import Part
    from medseg.models.start import Start

_PROCESS_START = time.monotonic()


def command(
    *, plan: Annotated[str | None, OFTEN] = None, options: TrainOptions, workspace: Annotated[Path, OFTEN] = Path(".")
) -> None:
    """Train a fold of the plan, then segment and score its validation cases.

    Args:
        plan: Name or file of the plan; may be left out if there is only one.
        options: How to train.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg train
        medseg train --fold 0 --budget 20m
        medseg train --plan liver --config 2d --set training.learning_rate=0.003
        medseg train --init liver/3d_fullres --set training.encoder_learning_rate=0.1
        medseg train --fold 0 --resume
        medseg train --fold 0 --resume --set training.learning_rate=0.001
        medseg train --fold 0 --extend 2x
    """
    tune_for_training()
    with starting():
        from medseg.commands.train.train import train
        from medseg.networks.threads import use_cores
        from medseg.training.step.ranks import rank_from_environment

    use_cores()
    prints = rank_from_environment() == 0  # of several processes that train together, only the first prints
    if not prints:
        console.quiet = True
        no_records()
    options = replace(options, start_time=_PROCESS_START)
    with progress_display() as show:
        result = train(plan, workspace, options, _with_start_table(show))
    if not prints:
        raise typer.Exit
    from medseg.cli.output.next_command import show_next_prediction  # here: training starts sooner
    from medseg.cli.output.tables import headline_table, scores_record, scores_table
    from medseg.models.run_files import PLAN
    from medseg.plans.file import load_plan

    if not result.trained:
        show_notes(result.notes)
    if result.summary is not None:
        console.print(scores_table(result.summary))
        console.print(headline_table(result.summary))
    record = result.record
    record_result(folder=result.folder, **scores_record(result.summary), steps=record.steps, seconds=record.seconds)
    console.print(
        f"{counted(record.steps or 0, 'step')} in {duration(record.seconds or 0.0)}; {result.folder} holds the model",
        markup=False,
    )
    console.print(f"look at: {result.folder / 'report.html'}", markup=False)
    if record.repeat_with:
        console.print(f"repeat exactly with: medseg train {record.repeat_with}", markup=False, soft_wrap=True)
    elif record.changes:
        console.print("No single command repeats this run: it was changed on the way, as report.html and run.json say.")
    report_failures(result.failed)
    trained = load_plan(result.folder / PLAN)
    show_next_prediction(trained, f"{result.folder.parents[1].name}/{result.folder.parent.name}", workspace)
    raise typer.Exit(1 if result.failed else 0)


def _with_start_table(callback: Callback) -> Callback:
    """Return a callback that prints what a run starts from (a model, weights of an encoder), and passes on the rest."""

    def show(event: Progress) -> None:
        if event.stage == "encoder weights":
            weights: EncoderWeights = event.info["weights"]
            console.print(_parts_table(weights.parts))
            summary = f"{weights.share:.1%} of the encoder {weights.encoder} is from {weights.source}"
            console.print(f"{summary}, found by {weights.found_by}", markup=False)
            return
        if event.stage != "start":
            callback(event)
            return
        start: Start = event.info["start"]
        console.print(_parts_table(start.parts))
        summary = f"{start.share:.1%} of the weights are those of fold {start.fold} of {start.source}"
        console.print(summary, markup=False)

    return show


def _parts_table(parts: Sequence[Part]) -> Table:
    """Return a table of the parts of a network, and how much of each was taken from what it starts from."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    table.add_column("taken", justify="right", no_wrap=True)
    table.add_column("remarks")
    for part in parts:
        table.add_row(part.name, f"{part.weights:,}", part.amount, Text(part.detail))
    return table
