"""`--fast`: a named set of trades. What each costs in Dice, and gains in time, is measured in docs/inference.md."""

from __future__ import annotations

from typing import Any

from medseg.plans.sections import Inference

TRADES: dict[str, dict[str, Any]] = {
    "larger steps": {"step_fraction": 0.75},
    "no mirrored copies": {"mirror": False},
    "empty tiles": {"skip_empty_tiles": True},
}
"""What is changed in a plan's section `inference`, by what the user is told."""


def fast(inference: Inference) -> Inference:
    """The section with all trades made; never done unless asked for."""
    changes = {key: value for trade in TRADES.values() for key, value in trade.items()}
    step = max(inference.step_fraction, changes.pop("step_fraction"))
    return inference.model_copy(update={**changes, "step_fraction": step})


def fast_overrides() -> list[str]:
    """The same as `key=value` texts for `Predictor.load(overrides=...)`."""
    return [f"inference.{key}={str(value).lower()}" for trade in TRADES.values() for key, value in trade.items()]
