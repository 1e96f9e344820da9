"""Options of `medseg watch`."""

from __future__ import annotations

from dataclasses import dataclass, field

from medseg.commands.predict.options import PredictOptions


@dataclass(frozen=True)
class WatchOptions:
    """How a folder is watched.

    Attributes:
        predict: how its studies are answered; `keep_finished` plays no part.
        settle_seconds: for how long nothing of a study must have changed before it is looked into.
        patience_seconds: for how long nothing may change of a study that is not whole before it has failed.
        once: look twice, `settle_seconds` apart, answer what is there, and end.
        again: answer anew what changed since it was answered, what another model answered, and, once, what failed.
    """

    predict: PredictOptions = field(default_factory=PredictOptions)
    settle_seconds: float = 10.0
    patience_seconds: float = 300.0
    once: bool = False
    again: bool = False
