"""`medseg select`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.output.display import console, progress_display, report_failures, show_notes
from medseg.cli.output.next_command import show_next_prediction
from medseg.cli.output.records import record_result
from medseg.commands.select.options import SelectOptions
from medseg.core.options import Option
from medseg.core.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from medseg.commands.select.select import SelectResult
    from medseg.selection.record import Selection


def command(
    *,
    plan: Annotated[str | None, Option(positional=True)] = None,
    options: SelectOptions,
    workspace: Path = Path("."),
) -> None:
    """Choose among trained models, and what is done to their answers, by out-of-fold answers.

    Writes runs/PLAN/selection.yaml, which predict, package and Predictor then use by themselves.

    Exit code: 0 all well, 1 some cases have no answer, 2 nothing could be done.

    Args:
        plan: Name or file of the plan; may be left out if there is only one.
        options: Among what is chosen.
        workspace: Folder with plans/ and runs/.

    Examples:
        medseg select
        medseg select liver --config 2d,3d_fullres
        medseg select --no-ensembles --no-postprocessing
    """
    from medseg.commands.select.select import select
    from medseg.models.workspace import Workspace
    from medseg.networks.threads import use_cores
    from medseg.plans.file import load_plan

    use_cores()
    with progress_display() as show:
        result = select(plan, workspace, options, show)
    _show(result)
    report_failures(result.failed)
    name = result.path.parent.name
    show_next_prediction(load_plan(Workspace(workspace).plan_path(plan)), name, workspace)
    raise typer.Exit(1 if result.failed else 0)


def _show(result: SelectResult) -> None:
    """Print candidates, the choice and the postprocessing; and write them as records."""
    selection, evidence = result.selection, result.selection.evidence
    assert evidence is not None
    console.print(_candidates_table(result))
    console.print(f"selected: {selection.title}: {evidence.reason}", markup=False)
    console.print(f"postprocessing: {_postprocessing_phrase(selection)}", markup=False)
    console.print(_confidence_line(selection), markup=False)
    show_notes(result.notes)
    console.print(f"look at: {result.page}", markup=False)
    console.print(f"{result.path} is used from now on by medseg predict, unless --no-selection is given", markup=False)
    record_result(selection=selection.model_dump(mode="json"), file=result.path, page=result.page)


def _postprocessing_phrase(selection: Selection) -> str:
    """Return what is done to answers."""
    nothing = "none: nothing that was tried improves the answers beyond chance" if selection.rejected else "none"
    return ", ".join(selection.describe()) or nothing


def _confidence_line(selection: Selection) -> str:
    """Return a line that says whether probabilities are calibrated, and whether answers are judged."""
    calibration, quality = selection.calibration, selection.quality
    parts = ["probabilities are not calibrated: that needs three cases at least, with all structures annotated"]
    if calibration is not None:
        error, done = calibration.ece_all, calibration.scaling.describe()
        parts = [f"calibration: {done}; its error is {error.before:.3f} before, {error.after:.3f} after"]
    if quality is None:
        parts.append("answers are not judged: that needs twelve cases of two folds at least")
    else:
        evidence = quality.evidence
        of = "" if evidence.patients is None else f" of {counted(evidence.patients, 'patient')}"
        parts.append(f"flags: {evidence.flagged_good:.0%} of {evidence.good} good out-of-fold answers{of} carry one")
    return "; ".join(parts)


def _candidates_table(result: SelectResult) -> Table:
    from rich.table import Table

    from medseg.evaluation.score import MEASURES

    evidence = result.selection.evidence
    assert evidence is not None
    table = Table("candidate", title=f"out of fold, {evidence.cases} cases", title_justify="left")
    for heading in (f"mean\n{MEASURES[evidence.measure].title}", "to the\nbest", "95 % interval", "seconds\na case"):
        table.add_column(heading, justify="right")
    for candidate in evidence.candidates:
        behind = candidate.behind_best
        known = behind is not None and behind.low is not None
        table.add_row(
            " + ".join(candidate.configurations),
            "-" if candidate.score is None else f"{candidate.score:.4f}",
            "" if behind is None else f"{behind.difference:+.4f}",
            f"{behind.low:+.4f} to {behind.high:+.4f}" if known and behind is not None else "",
            f"{candidate.seconds:.2g}",
        )
    return table
