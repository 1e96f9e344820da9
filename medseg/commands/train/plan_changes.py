"""What the plan in the workspace says otherwise than the copy that a run keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.core.errors import MedsegError
from medseg.planning.recipe import load_plan_to_train
from medseg.plans.changes import differences
from medseg.plans.schema import Plan

_MOST_NAMED = 8


def differs_note(plan_path: Path, own: Plan, configuration: str, record: dict[str, Any]) -> list[str]:
    """What the plan in the workspace says otherwise than the run's own copy, which is the one that counts."""
    try:
        theirs = load_plan_to_train(plan_path, record.get("overrides") or [], record.get("recipe"))
    except MedsegError as error:
        return [f"{plan_path} has changed so that it does not fit the run any more, which keeps its own: {error}"]
    set_since = {change["key"] for change in record.get("changes", ())}
    if record.get("budget_seconds") is not None:
        set_since.add("training.validations")  # which a short budget lowers
    found = [change for change in differences(own, theirs, configuration) if change.key not in set_since]
    if not found:
        return []
    named = "; ".join(f"{one.key} is {one.old} in the run, {one.new} there" for one in found[:_MOST_NAMED])
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return [f"{plan_path} has changed since the run began, which keeps its own plan: {named}{more}"]
