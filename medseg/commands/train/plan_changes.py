"""How the plan in the workspace differs from the copy that a run keeps."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import MedsegError
from medseg.models.record import RunRecord
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.changes import differences
from medseg.plans.schema import Plan

_MOST_NAMED = 8


def differs_note(plan_path: Path, run_plan: Plan, configuration: str, record: RunRecord) -> list[str]:
    """Return a note on what the plan in the workspace says otherwise than the run's own copy, which is what counts.

    Args:
        plan_path: the path of the plan in the workspace.
        run_plan: the run's copy.
        configuration: the configuration that the run trains.
        record: the record of the run, with what was set when it began and changed since.
    """
    try:
        current = load_plan_to_train(plan_path, record.overrides or [], record.recipe)
    except MedsegError as error:
        return [f"{plan_path} has changed and no longer fits the run, which keeps its own copy: {error}"]
    set_since = {change.key for change in record.changes or ()}
    if record.budget_seconds is not None:
        set_since.add("training.validations")  # which a short budget lowers
    changes = [change for change in differences(run_plan, current, configuration) if change.key not in set_since]
    if not changes:
        return []
    texts = [f"{change.key} is {change.old} in the run, {change.new} there" for change in changes[:_MOST_NAMED]]
    more = f"; and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
    return [f"{plan_path} has changed since the run began, which keeps its own plan: {'; '.join(texts)}{more}"]
