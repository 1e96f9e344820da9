"""What may be asked of `medseg train`, and which requests contradict each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.errors import PlanError

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


@dataclass(frozen=True)
class TrainOptions:
    """What may be asked of a training run.

    Attributes:
        fold: a number, or `all` to train on every case and keep none apart.
        configuration: of the plan; None for the plan's default.
        budget_seconds: wall-clock time for the whole command, preprocessing and final validation included.
        steps: number of optimizer steps; None for the plan's.
        overrides: `dotted.key=value` strings for the plan; of a run that goes on, from there on.
        init: a model to start from: a file or folder, `<plan>` or `<plan>/<configuration>`; None for fresh weights.
        recipe: `nnunet` to train as nnU-Net does; None for the plan's own way.
        resume: go on from the last checkpoint.
        extend: train a finished run further, with a new schedule.
        device: `auto`, `cuda`, `cuda:1`, `mps` or `cpu`.
        data: where the data set lies now, if not where the plan says.
        started: `time.monotonic()` when the command began; a budget counts from there.
    """

    fold: str = "0"
    configuration: str | None = None
    budget_seconds: float | None = None
    steps: int | None = None
    overrides: list[str] = field(default_factory=list)
    init: str | Path | None = None
    recipe: str | None = None
    resume: bool = False
    extend: Extension | None = None
    device: str = "auto"
    data: Path | None = None
    started: float | None = None

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
