"""`medseg rank`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import show_next_view
from medseg.cli.output.records import emit, record_result
from medseg.commands.rank.options import RankOptions
from medseg.core.options import OFTEN, Option

_MOST_ROWS = 20


def command(
    *,
    source: Annotated[Path, Option(metavar="SCANS")],
    output: Annotated[Path, Option(metavar="OUT")],
    model: Annotated[str | None, Option("--model -m", "Which model", "MODEL"), OFTEN] = None,
    options: RankOptions,
    workspace: Annotated[Path, Option(group="Where, and what is kept"), OFTEN] = Path("."),
) -> None:
    """Say which scans to annotate next: doubtful answers first, and no two scans alike.

    Needs a model that can judge its answers: medseg crossval, then medseg select. The answers in OUT are what
    annotation can start from.

    Exit code: 0 all well, 1 some scans failed or could not be judged, 2 nothing could be done.

    Args:
        source: A folder of scans without labels.
        output: Folder for the answers and ranking.csv.
        model: A plan with a selection, or a .medseg package. May be left out if the workspace has one plan.
        options: How scans are segmented.
        workspace: Folder with plans/ and runs/.

    Examples:
        medseg rank unlabelled/ next/
        medseg rank unlabelled/ next/ --model liver --no-mirror
    """
    from rich.markup import escape
    from rich.table import Table

    from medseg.commands.rank.rank import rank_scans

    with progress_display() as show:
        result = rank_scans(source, output, model, workspace, options, show)
    table = Table("", "case", "predicted Dice", "novelty", title="annotate in this order", title_justify="left")
    for number, scan in enumerate(result.order, start=1):
        dice = None if scan.case in result.not_judged else round(1 - scan.doubt, 4)
        emit("case", rank=number, case=scan.case, predicted_dice=dice, novelty=scan.novelty)
        if number <= _MOST_ROWS:
            shown = "" if dice is None else f"{dice:.3f}"
            table.add_row(str(number), escape(scan.case), shown, f"{scan.novelty:.2f}")
    console.print(table)
    show_notes(result.prediction.notes, len(result.order))
    show_notes([entry.told() for entry in result.prediction.passed_over], word="warning")
    console.print(
        f"{result.file} has all {len(result.order)}; the label maps beside it are to start from", markup=False
    )
    record_result(folder=output, ranked=len(result.order), file=result.file)
    report_failures(result.prediction.failed)
    report_failures(result.not_judged, outcome="not judged, and ranked first", state="not judged")
    show_next_view(result.prediction, result.order[0].case if result.order else None)
    raise typer.Exit(2 if not result.order else 1 if result.failed else 0)
