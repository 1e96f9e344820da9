"""What a run took over from the model that it started from, as a table."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from medseg.cli.display import console
from medseg.core.progress import Callback, Progress
from medseg.models.start import Start


def start_shown(callback: Callback) -> Callback:
    """`callback`, but that the table of a start is printed when it comes, before the training."""

    def show(event: Progress) -> None:
        start = event.info.get("start")
        if not isinstance(start, Start):
            callback(event)
            return
        console.print(start_table(start))
        said = f"{start.share:.1%} of the weights are those of fold {start.fold} of {start.source}"
        console.print(said, markup=False)

    return show


def start_table(start: Start) -> Table:
    """Each part of the network, and how much of it was taken."""
    drawn = Table(show_edge=False, pad_edge=False)
    drawn.add_column("part", no_wrap=True)
    drawn.add_column("weights", justify="right", no_wrap=True)
    drawn.add_column("taken", justify="right", no_wrap=True)
    drawn.add_column("what there is to say")
    for part in start.parts:
        drawn.add_row(part.name, f"{part.weights:,}", part.amount, Text(part.detail))
    return drawn
