"""One call of `train`: what was asked for, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.commands.train.options import TrainOptions
from medseg.core.progress import Callback
from medseg.models.model import NetworkFactory
from medseg.models.workspace import Workspace
from medseg.training.step.ranks import Ranks


@dataclass(frozen=True)
class Request:
    """One call of `train`. A cascade makes further ones of it, for the folds of its previous stages.

    Attributes:
        plan: name or file of the plan; None for the only one there is.
        workspace: with plans, runs and cache.
        options: with the device of this process.
        callback: receives progress and notes.
        factory: makes the network; None for that of the plan.
        ranks: this process among those that train together.
        start_time: `time.monotonic()` when the command began; a budget counts from there.
    """

    plan: str | Path | None
    workspace: Workspace
    options: TrainOptions
    callback: Callback
    factory: NetworkFactory | None
    ranks: Ranks
    start_time: float
