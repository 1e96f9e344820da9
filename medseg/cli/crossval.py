"""`medseg crossval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import in_workspace, show_next
from medseg.cli.output.records import emit, record_result
from medseg.commands.crossval.options import CrossvalOptions
from medseg.core.machine.tuning import tune_for_training
from medseg.core.options import OFTEN

if TYPE_CHECKING:
    from medseg.commands.crossval.crossval import CrossvalResult


def command(
    *,
    plan: Annotated[str | None, OFTEN] = None,
    options: CrossvalOptions,
    workspace: Annotated[Path, OFTEN] = Path("."),
) -> None:
    """Train every fold that is not trained yet, and score all out-of-fold answers together.

    The same command goes on after it was stopped. Options of medseg train apply to each fold.

    Exit code: 0 all well, 1 a fold or a case failed, 2 no fold could be trained.

    Args:
        plan: Name or file of the plan; may be left out if there is only one.
        options: Which folds, and how they are trained.
        workspace: Folder with plans/, runs/ and cache/.

    Examples:
        medseg crossval
        medseg crossval --budget 5h
        medseg crossval --config 2d,3d_fullres --set training.seed=1
        medseg crossval --plan liver --folds 0,1,2 --steps 5000
    """
    tune_for_training()
    from medseg.commands.crossval.crossval import crossval
    from medseg.networks.threads import use_cores

    use_cores()
    with progress_display() as show:
        result = crossval(plan, workspace, options, show)
    _show(result)
    report_failures(result.failed, what="fold or case")
    if result.scores:
        plan_name = next(iter(result.scores.values())).folder.parents[1].name
        show_next("select", plan_name, "--config", ",".join(result.scores), *in_workspace(workspace))
    scored = any(score.evaluation.summary.cases for score in result.scores.values())
    raise typer.Exit(2 if not scored else 1 if result.failed else 0)


def _show(result: CrossvalResult) -> None:
    """Print the scores of each configuration, its worst cases and its page; and write them as records."""
    from medseg.cli.output.tables import dice_table, folds_table, headline_table, scores_record, worst_cases_line

    records = {}
    for fold in result.folds:
        state = "failed" if fold.result is None else "trained" if fold.result.trained else "trained before"
        emit("fold", configuration=fold.configuration, fold=fold.fold, state=state, problem=fold.problem)
    for name, score in result.scores.items():
        summary = score.evaluation.summary
        records[name] = {**scores_record(summary), "folder": score.folder}
        console.print(f"\n[bold]{name}[/], out of fold")
        console.print(dice_table(summary))
        console.print(headline_table(summary))
        if score.evaluation.subgroups:
            console.print(folds_table(score.evaluation.subgroups["fold"]))
        show_notes([f"{name}: {note}" for note in score.notes])
        console.print(worst_cases_line(summary), markup=False)
        console.print(f"look at: {score.folder / 'report.html'}", markup=False)
    record_result(configurations=records)
