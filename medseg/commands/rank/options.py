"""Options of `medseg rank`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from medseg.commands.predict.options import PredictOptions
from medseg.core.options import Option
from medseg.core.verb_options import VerbOptions

_OF_PREDICT = (
    "selection",
    "maps",
    "overlay",
    "palette",
    "page",
    "instances",
    "write",
    "identify",
    "configuration",
    "folds",
    "checkpoint",
    "cluster",
    "table",
)
"""Options of `predict` that `rank` sets itself, or has no use for."""


@dataclass(frozen=True)
class RankOptions(VerbOptions):
    """Options of `medseg rank`.

    Attributes:
        prediction: How scans are found and segmented: options of `medseg predict`.
    """

    prediction: Annotated[PredictOptions, Option(without=_OF_PREDICT, rarely=("channels",))] = field(
        default_factory=PredictOptions
    )
