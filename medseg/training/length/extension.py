"""Parse `--extend`: how much longer a finished run is to be trained. Imports nothing that is slow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medseg.core.errors import PlanError
from medseg.core.options import parse_duration


@dataclass(frozen=True)
class Extension:
    """How much longer a finished run is to be trained: one of the three.

    Attributes:
        factor: the steps in all, as a multiple of the steps so far.
        steps: steps to add.
        seconds: wall-clock time to add, for the whole command.
    """

    factor: float | None = None
    steps: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.factor is not None:
            return f"{self.factor:g}x"
        return str(self.steps) if self.steps is not None else f"{self.seconds:g}s"

    def more(self, steps: int) -> int:
        """Return the steps to add to a run of `steps`; 0 if the extension is given as a time.

        >>> Extension(factor=2).more(1000), Extension(steps=50).more(1000), Extension(seconds=60).more(1000)
        (1000, 50, 0)
        """
        return self.steps or round(steps * ((self.factor or 1) - 1))


def parse_extension(text: str) -> Extension:
    """Return how much longer a run is to be trained, from `2x`, `5000` or `20m`.

    Raises:
        PlanError: The text is none of these.
    """
    if re.fullmatch(r"\d+(?:\.\d+)?x", text):
        return Extension(factor=float(text[:-1]))
    if text.isdecimal():
        return Extension(steps=int(text))
    try:
        return Extension(seconds=parse_duration(text))
    except PlanError:
        raise PlanError(
            f"{text!r} is not an extension.",
            "Examples: 2x (twice as many steps in total), 5000 (5000 more steps), 20m (20 more minutes).",
        ) from None


def nothing_to_train(what: str) -> PlanError:
    """Return the error for an extension that adds no step.

    Args:
        what: the option with its value, and what it is for.
    """
    return PlanError(
        f"{what} leaves nothing to train.",
        "Examples: --extend 2x (twice as many steps in total), 5000 (5000 more steps), 20m (20 more minutes).",
    )
