"""How two versions of a plan differ, and which differences a run that has begun can take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medseg.core.errors import MedsegError, PlanError
from medseg.planning.nnunet_recipe import load_plan_to_train
from medseg.plans.schema import Plan

_FREE = ("training.", "inference.", "scoring.")
_FREE_OF_CONFIGURATION = (
    "patch_voxels",
    "batch_size",
    "batch_dice",
    "rotation_degrees",
    "in_plane_only",
    "mirror_axes",
    "resample_logits",
)
_FIXED = {
    "training.steps": "--extend trains a finished run further",
    "training.optimizer": "its state does not fit another one",
    "training.encoder_learning_rate": "the optimizer's state is sorted by it",
}
_MOST_NAMED = 8


class Change(NamedTuple):
    """A key of the plan, its value so far, and its value from here on."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def differences(old: Plan, new: Plan, configuration: str) -> list[Change]:
    """What differs, of all that a run in one configuration depends on."""
    before, after = (_flat(plan, configuration) for plan in (old, new))
    keys = [*before, *(key for key in after if key not in before)]
    return [Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def check_changes(changes: Sequence[Change], configuration: str) -> None:
    """Refuse what a run that has begun cannot take: its weights, its preprocessed cases and its optimizer stay.

    Raises:
        PlanError: naming each key with its old and its new value.
    """
    bad = [(change, why) for change in changes if (why := _obstacle(change, configuration)) is not None]
    if bad:
        lines = "\n  ".join(f"{change} ({why})" for change, why in bad)
        raise PlanError(
            f"A run that has begun cannot change:\n  {lines}",
            "Leave these out, or start a new run: delete or move its folder.",
        )


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


def _obstacle(change: Change, configuration: str) -> str | None:
    """Why a run cannot take a change; None where it can."""
    if change.key in _FIXED:
        return _FIXED[change.key]
    if change.key == "training.average_weights" and (change.old == 0) != (change.new == 0):
        return "the run has averaged its weights from its start, or not at all"
    own = {f"configurations.{configuration}.{key}" for key in _FREE_OF_CONFIGURATION}
    if change.key.startswith(_FREE) or change.key in own:
        return None
    if change.key.startswith(f"configurations.{configuration}.network."):
        return "the weights do not fit another network"
    return "weights and preprocessed cases are made for it"


def _flat(plan: Plan, configuration: str) -> dict[str, Any]:
    """Dotted keys to values, of one configuration with what it inherits; how the plan was made does not count."""
    kept = {"data", "labels", "orientation", "transpose_forward", "training", "inference", "scoring"}
    values = plan.model_dump(mode="json", include=kept)
    values["data"] = {key: values["data"][key] for key in ("channels", "intensities", "reading", "dimensions")}
    if configuration in plan.configurations:
        resolved = plan.configuration(configuration).model_dump(mode="json")
        values["configurations"] = {configuration: resolved}
    return _leaves(values, "")


def _leaves(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _leaves(inner, f"{path}.{key}" if path else str(key))
    return found
