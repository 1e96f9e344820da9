"""`--fast`: a named set of trades of accuracy for time; docs/prediction/inference.md has what each costs and gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medseg.models.model import Model

TRADES: dict[str, dict[str, Any]] = {
    "larger steps": {"step_fraction": 0.75},
    "no mirrored copies": {"mirror": False},
    "empty tiles": {"skip_empty_tiles": True},
}
"""{name of a trade: the settings of a plan's section `inference` that it changes}."""


def make_fast(model: Model, overrides: Sequence[str] = ()) -> Model:
    """Return a model, the stages before it and those that answer with it, with all trades made in the plan.

    Steps are never made smaller: a plan whose step is larger already keeps it.

    Args:
        model: as it was loaded.
        overrides: `dotted.key=value` strings that the user asked for; settings named there stay as they are.
    """
    named = {text.partition("=")[0].strip() for text in overrides}
    changes = {
        key: value
        for trade in TRADES.values()
        for key, value in trade.items()
        if named.isdisjoint({"inference", f"inference.{key}"})
    }
    inference = model.plan.inference
    if "step_fraction" in changes:
        changes["step_fraction"] = max(inference.step_fraction, changes["step_fraction"])
    plan = model.plan.model_copy(update={"inference": inference.model_copy(update=changes)})
    previous = None if model.previous is None else make_fast(model.previous, overrides)
    others = tuple(make_fast(other, overrides) for other in model.others)
    return replace(model, plan=plan, previous=previous, others=others)
