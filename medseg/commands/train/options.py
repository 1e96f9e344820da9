"""Options of `medseg train`, and which of them contradict each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from medseg.core.errors import PlanError
from medseg.core.options import PYTHON_ONLY, Option, parse_duration

_MANY_STEPS = 10**9
"""More than any run has: what extends not even such a run extends none."""


@dataclass(frozen=True)
class Extension:
    """How much longer a finished run is to be trained; one of the three.

    Attributes:
        factor: times as many steps in all.
        steps: more steps.
        seconds: more wall-clock time, for the whole command.
    """

    factor: float | None = None
    steps: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.factor is not None:
            return f"{self.factor:g}x"
        return str(self.steps) if self.steps is not None else f"{self.seconds:g}s"

    def more(self, steps: int) -> int:
        """How many steps follow those of a run of so many; 0 where time says it."""
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
            f"{text!r} is no extension.",
            "Write 2x (twice as many steps in all), 5000 (so many more) or 20m (so much longer).",
        ) from None


@dataclass(frozen=True)
class TrainOptions:
    """Options of `medseg train`.

    Attributes:
        fold: Fold to train, 0 to 4; or all, to train on every case and validate on none.
        configuration: Configuration of the plan: 2d, 3d_fullres, ...; the plan's default unless given.
        budget_seconds: Wall-clock time for the whole command, preprocessing and validation included, such as 5m or
            2h. The learning rate falls to its end within that time.
        steps: Number of optimizer steps, instead of the plan's.
        overrides: Setting of the plan to change, such as training.learning_rate=0.003; repeatable. With --resume, it
            is changed from there on.
        init: Model to start from: PLAN/CONFIG, a run's folder, a .medseg file, or a model of nnU-Net. Random weights
            unless given.
        recipe: nnunet trains as nnU-Net does, whatever the plan says.
        resume: Continue from the last checkpoint.
        extend: Train a finished run further, with a new schedule: to 2x as many steps in all, for 5000 more steps, or
            for another 20m.
        device: Device to train on: auto, cuda, cuda:1, mps or cpu.
        data: Folder of the data set, if it is not where the plan says.
        started: `time.monotonic()` when the command began; the budget counts from there. None for now.
    """

    fold: str = "0"
    configuration: Annotated[str | None, Option("--config")] = None
    budget_seconds: Annotated[float | None, Option("--budget", metavar="TIME", parse=parse_duration)] = None
    steps: Annotated[int | None, Option(minimum=1)] = None
    overrides: Annotated[list[str], Option("--set", metavar="KEY=VALUE")] = field(default_factory=list)
    init: Annotated[str | Path | None, Option(metavar="MODEL")] = None
    recipe: str | None = None
    resume: bool = False
    extend: Annotated[Extension | None, Option(metavar="AMOUNT", parse=parse_extension)] = None
    device: str = "auto"
    data: Path | None = None
    started: Annotated[float | None, PYTHON_ONLY] = None

    @property
    def goes_on(self) -> bool:
        """Whether there has to be a run already."""
        return self.resume or self.extend is not None


def nothing_to_train(what: str) -> PlanError:
    """The error that an extension is none."""
    return PlanError(
        f"{what} leaves nothing to train.",
        "Say 2x for twice as many steps in all, 5000 for so many more, or 20m for the time to spend.",
    )


def check_options(options: TrainOptions) -> None:
    """Refuse requests that contradict each other.

    Raises:
        PlanError: naming the options.
    """
    lengths = {"--steps": options.steps, "--budget": options.budget_seconds, "--extend": options.extend}
    given = [name for name, value in lengths.items() if value is not None]
    if options.resume and given:
        raise PlanError(
            f"--resume and {' and '.join(given)} were given; a resumed run ends where it was to end when it began.",
            "Leave --resume out to begin a run; --extend trains one further that is finished.",
        )
    started = [name for name, value in (("--init", options.init), ("--recipe", options.recipe)) if value is not None]
    if options.goes_on and started:
        raise PlanError(
            f"{' and '.join(started)} {'is' if len(started) == 1 else 'are'} for a run that begins; this one goes on.",
            "Leave --resume and --extend out to begin a run.",
        )
    extend = options.extend
    if extend is not None and not (extend.seconds or 0) > 0 and extend.more(_MANY_STEPS) < 1:
        raise nothing_to_train(f"--extend {extend}")
    if len(given) > 1:
        raise PlanError(f"{' and '.join(given)} were given; each says when the run ends.", "Give one of them.")
