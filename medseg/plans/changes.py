"""Compare two versions of a plan, and decide which changes a run that has started training can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from medseg.core.errors import PlanError
from medseg.plans.schema import Plan

_CHANGEABLE_SECTIONS = ("training.", "inference.", "scoring.")
_CHANGEABLE_IN_CONFIGURATION = (
    "patch_voxels",
    "batch_size",
    "batch_dice",
    "rotation_degrees",
    "in_plane_only",
    "mirror_axes",
    "resample_logits",
)
"""Keys of a configuration that neither the shape of the weights nor the preprocessed cases depend on."""

_DATA_KEYS = ("channels", "intensities", "reading", "dimensions", "spacing_rule", "spacing_known")
"""Keys of the section `data` that a run depends on."""

_REASON_FIXED = {
    "training.steps": "--extend trains a finished run further",
    "training.epochs": "--extend trains a finished run further",
    "training.optimizer": "its state does not fit another one",
    "training.encoder_learning_rate": "the optimizer's state is sorted by it",
}
"""Keys of the changeable sections that stay fixed all the same, each with the reason."""


class Change(NamedTuple):
    """A key of the plan whose value changes.

    Attributes:
        key: dotted key, such as `training.learning_rate`.
        old: the value so far; None where the key was absent.
        new: the value from here on; None where the key is gone.
    """

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def differences(old: Plan, new: Plan, configuration: str) -> list[Change]:
    """Return the differences between two plans in everything that a run in one configuration depends on.

    Args:
        old: the plan so far.
        new: the plan to compare with it.
        configuration: name of the run's configuration; what it inherits counts, other configurations do not.

    Returns:
        One entry for each key whose value differs, in the order of the old plan, keys that only the new one has last.
    """
    old_values, new_values = _values_by_key(old, configuration), _values_by_key(new, configuration)
    keys = dict.fromkeys([*old_values, *new_values])
    changed = [
        Change(key, old_values.get(key), new_values.get(key))
        for key in keys
        if old_values.get(key) != new_values.get(key)
    ]
    return changed + _reordered(old, new)


def check_changes(changes: Sequence[Change], configuration: str) -> None:
    """Refuse changes that a run cannot take once it has weights, preprocessed cases and an optimizer state.

    Args:
        changes: what `differences` returned.
        configuration: name of the run's configuration.

    Raises:
        PlanError: some cannot be made; the message names each key with its old value, its new value and the reason.
    """
    refused = [f"{change} ({reason})" for change in changes if (reason := _reason_against(change, configuration))]
    if refused:
        lines = "\n  ".join(refused)
        raise PlanError(
            f"A run that has started cannot change:\n  {lines}",
            "Leave these out, or start a new run: delete or move its folder.",
        )


def _reason_against(change: Change, configuration: str) -> str | None:
    """Return why a run cannot take a change; None if it can."""
    if change.key in _REASON_FIXED:
        return _REASON_FIXED[change.key]
    if change.key == "training.average_weights" and (change.old == 0) != (change.new == 0):
        return "the run has averaged its weights from its start, or not at all"
    changeable = {f"configurations.{configuration}.{key}" for key in _CHANGEABLE_IN_CONFIGURATION}
    if change.key.startswith(_CHANGEABLE_SECTIONS) or change.key in changeable:
        return None
    if change.key.startswith(f"configurations.{configuration}.network."):
        return "the weights do not fit another network"
    return "weights and preprocessed cases are made for it"


def _values_by_key(plan: Plan, configuration: str) -> dict[str, Any]:
    """Return the values of a plan by dotted key: one configuration, resolved, and no key on how the plan was made."""
    sections = {"data", "labels", "orientation", "transpose_forward", "training", "inference", "scoring"}
    values = plan.model_dump(mode="json", include=sections)
    values["data"] = {key: values["data"][key] for key in _DATA_KEYS if key in values["data"]}
    if configuration in plan.configurations:
        resolved = plan.configuration(configuration).model_dump(mode="json")
        values["configurations"] = {configuration: resolved}
    return _flatten(values)


def _reordered(old: Plan, new: Plan) -> list[Change]:
    """Return mappings that are equal but for their order, which means something: that of outputs, and of overlaps."""
    orders = {
        "labels.structures": (old.labels.names, new.labels.names),
        "data.reading.segments": (tuple(old.data.reading.segments), tuple(new.data.reading.segments)),
    }
    return [
        Change(f"{key}, in order", [*before], [*after])
        for key, (before, after) in orders.items()
        if before != after and {*before} == {*after}
    ]


def _flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by dotted key; an empty mapping and a list are values."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flatten(inner, f"{key}.{name}" if key else str(name))
    return flat
