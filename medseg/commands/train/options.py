"""Options of `medseg train`, and which of them contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from medseg.core.errors import PlanError
from medseg.core.options import OFTEN, PYTHON_ONLY, REPEATED, Option, parse_duration, parse_list
from medseg.core.verb_options import VerbOptions
from medseg.delivery.logs.table import check_logs
from medseg.training.length.extension import Extension, nothing_to_train, parse_extension

_MANY_STEPS = 10**9
"""Step count used to detect an extension that adds no steps."""


@dataclass(frozen=True)
class TrainOptions(VerbOptions):
    """Options of `medseg train`.

    Attributes:
        fold: Fold to train, 0 to 4; or all, to train on every case and validate on none.
        configuration: Configuration of the plan: 2d, 3d_fullres, ...; if left out, the plan's default.
        budget_seconds: Wall-clock time for the whole command, preprocessing and validation included, such as 5m or 2h.
            The schedule of the learning rate ends within that time.
        steps: Number of optimizer steps, instead of the plan's.
        epochs: Number of epochs instead of steps; in one, as many patches are drawn as there are training cases, in 2D
            as they have slices.
        overrides: Setting of the plan to change, such as training.learning_rate=0.003; repeatable. With --resume, it
            is changed from there on.
        init: Model to start from: PLAN/CONFIG, a run's folder, a .medseg file, or a model of nnU-Net. If left out,
            training starts from random weights.
        recipe: nnunet trains as nnU-Net does, whatever the plan says.
        download: Let `network.weights: imagenet` fetch its file from the internet if it is not on this machine.
        resume: Continue from the last checkpoint.
        extend: Train a finished run further, with a new schedule: to 2x as many steps in all, for 5000 more steps, or
            for another 20m.
        train_scores: Also score as many training cases at each validation, to see how far the network has learnt them
            by heart; the same as --set training.train_scores=true.
        log: Programs to log figures and pictures for, joined by commas: tensorboard, mlflow. Each has a folder of its
            name in the run's folder; nothing is sent anywhere. A resumed run goes on with the logs that it has.
        device: Device to train on: auto, cuda, cuda:1, mps or cpu.
        data: Folder of the data set, if it is not where the plan says.
        start_time: `time.monotonic()` when the command began; the budget counts from there. None for now.
    """

    fold: Annotated[str, Option("--fold -f"), OFTEN] = "0"
    configuration: Annotated[str | None, Option("--config -c"), OFTEN] = None
    budget_seconds: Annotated[float | None, Option("--budget", metavar="TIME", parse=parse_duration), OFTEN] = None
    steps: Annotated[int | None, Option(minimum=1), OFTEN] = None
    epochs: float | None = None
    overrides: Annotated[list[str], Option("--set", metavar="KEY=VALUE"), OFTEN, REPEATED] = field(default_factory=list)
    init: Annotated[str | Path | None, Option(metavar="MODEL"), OFTEN, REPEATED] = None
    recipe: Annotated[str | None, REPEATED] = None
    download: Annotated[bool, REPEATED] = False
    resume: Annotated[bool, OFTEN] = False
    extend: Annotated[Extension | None, Option(metavar="AMOUNT", parse=parse_extension), OFTEN] = None
    train_scores: bool = False
    log: Annotated[Sequence[str], Option(metavar="PROGRAMS", parse=parse_list)] = ()
    device: Annotated[str, OFTEN] = "auto"
    data: Annotated[Path | None, REPEATED] = None
    start_time: Annotated[float | None, PYTHON_ONLY] = None

    def as_settings(self) -> TrainOptions:
        """Return the options with shorthands, such as `--train-scores`, replaced by settings of the plan."""
        if not self.train_scores:
            return self
        return replace(self, train_scores=False, overrides=[*self.overrides, "training.train_scores=true"])

    @property
    def continues(self) -> bool:
        """Whether the options ask for a run that has begun already."""
        return self.resume or self.extend is not None

    @property
    def new_seconds(self) -> float | None:
        """The budget of a session that begins or extends a run; None where there is none."""
        return self.budget_seconds if self.extend is None else self.extend.seconds

    def check(self) -> None:
        """Refuse options that contradict each other, extensions that add nothing, and logs that cannot be written.

        Raises:
            PlanError: Naming the options.
        """
        check_logs(self.log)
        lengths = {
            "--steps": self.steps,
            "--epochs": self.epochs,
            "--budget": self.budget_seconds,
            "--extend": self.extend,
        }
        given = [name for name, value in lengths.items() if value is not None]
        if self.resume and given:
            raise PlanError(
                f"--resume and {' and '.join(given)} were given; a resumed run keeps its planned end.",
                "Leave --resume out to start a new run; --extend trains a finished run further.",
            )
        if self.extend is not None and not (self.extend.seconds or 0) > 0 and self.extend.more(_MANY_STEPS) < 1:
            raise nothing_to_train(f"--extend {self.extend}")
        if self.epochs is not None and not 0 < self.epochs <= _MANY_STEPS:  # not a number is refused as well
            raise PlanError(f"--epochs is {self.epochs:g}; expected a number above 0.", "Examples: 100, 0.5.")
        if len(given) > 1:
            raise PlanError(f"{' and '.join(given)} were given; each says when the run ends.", "Give one of them.")
        given = [name for name, value in (("--init", self.init), ("--recipe", self.recipe)) if value is not None]
        if self.continues and given:
            raise PlanError(
                f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} only for a new run; this one continues.",
                "Leave --resume and --extend out to start a new run.",
            )
