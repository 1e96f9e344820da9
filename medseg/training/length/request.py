"""What a command says about the length of a run, and the check that it is valid. Imports nothing that is slow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medseg.core.errors import PlanError
from medseg.core.options import parse_duration

_MANY_STEPS = 10**9
"""Step count used to detect an extension that adds no steps."""


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
    if text.isdigit():
        return Extension(steps=int(text))
    try:
        return Extension(seconds=parse_duration(text))
    except PlanError:
        raise PlanError(
            f"{text!r} is not an extension.",
            "Examples: 2x (twice as many steps in total), 5000 (5000 more steps), 20m (20 more minutes).",
        ) from None


@dataclass(frozen=True)
class LengthRequest:
    """What a command says about the length of a run; the plan's steps where it says nothing.

    Attributes:
        steps: number of optimizer steps.
        budget_seconds: wall-clock time of the whole command.
        resume: go on to the end that the run had when it began.
        extend: train a finished run further.
    """

    steps: int | None = None
    budget_seconds: float | None = None
    resume: bool = False
    extend: Extension | None = None

    def check(self) -> None:
        """Refuse requests that contradict each other, and extensions that add nothing.

        Raises:
            PlanError: naming the options.
        """
        lengths = {"--steps": self.steps, "--budget": self.budget_seconds, "--extend": self.extend}
        given = [name for name, value in lengths.items() if value is not None]
        if self.resume and given:
            raise PlanError(
                f"--resume and {' and '.join(given)} were given; a resumed run keeps its planned end.",
                "Leave --resume out to start a new run; --extend trains a finished run further.",
            )
        extend = self.extend
        if extend is not None and not (extend.seconds or 0) > 0 and extend.more(_MANY_STEPS) < 1:
            raise nothing_to_train(f"--extend {extend}")
        if len(given) > 1:
            raise PlanError(f"{' and '.join(given)} were given; each says when the run ends.", "Give one of them.")


def nothing_to_train(what: str) -> PlanError:
    """Return the error for an extension that adds no step.

    Args:
        what: the option with its value, and what it is for.
    """
    return PlanError(
        f"{what} leaves nothing to train.",
        "Examples: --extend 2x (twice as many steps in total), 5000 (5000 more steps), 20m (20 more minutes).",
    )
