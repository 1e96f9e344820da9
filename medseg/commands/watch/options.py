"""Options of `medseg watch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from medseg.commands.predict.options import PredictOptions
from medseg.core.options import OFTEN, Option, parse_duration, write_duration
from medseg.core.verb_options import VerbOptions

_WHEN = Option(group="When")
_LEFT_OUT = ("keep_finished", "cluster", "table")
"""Options of `predict` that say nothing about a single study as it comes."""
_RARELY = ("configuration", "folds", "channels", "fast", "probabilities", "format", "overlay")
"""Options of `predict` that most need there, but not for studies that come by themselves."""


@dataclass(frozen=True)
class WatchOptions(VerbOptions):
    """Options of `medseg watch`.

    Attributes:
        predict: How studies are answered.
        settle_seconds: How long a study must stay unchanged before it is read, such as 10s or 2m.
        patience_seconds: How long to wait for missing slices or files of a study that no longer changes, before it
            counts as failed.
        once: Look twice, with --settle between, answer the studies that are there, and end; for cron.
        again: Answer again what changed since it was answered, what another model answered, and, once, what failed.
    """

    predict: Annotated[PredictOptions, Option(without=_LEFT_OUT, rarely=_RARELY)] = field(
        default_factory=PredictOptions
    )
    settle_seconds: Annotated[float, Option("--settle", _WHEN.group, "TIME", parse_duration, write_duration), OFTEN] = (
        10.0
    )
    patience_seconds: Annotated[float, Option("--patience", _WHEN.group, "TIME", parse_duration, write_duration)] = (
        300.0
    )
    once: Annotated[bool, _WHEN, OFTEN] = False
    again: Annotated[bool, _WHEN] = False
