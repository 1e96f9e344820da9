"""What a run is made of, besides its network and its data. The loop holds it; only its course may change on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from medseg.models.model import input_channels
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batches
from medseg.training.length.course import Course
from medseg.training.length.steering import Redirection
from medseg.training.step.learning_rate import learning_rate
from medseg.training.step.ranks import ALONE, Ranks


def _announce_nothing(setup: Setup, redirection: Redirection) -> None:
    pass


@dataclass(frozen=True)
class Setup:
    """What a run is made of, besides its network and its data.

    Attributes:
        plan: what the run is trained by.
        configuration: the configuration of the plan, with everything that it inherits.
        course: how many steps the run has, and how its schedule advances over them.
        device: to train on.
        precision: type that convolutions are computed in.
        files: the files of the fold: log, checkpoints and all others.
        ranks: this process among those that train together.
        announce: called by the first process when the course changes, with the setup from there on.
        clock: returns the time in seconds that steps are measured and a budget is kept by.
    """

    plan: Plan
    configuration: Configuration
    course: Course
    device: torch.device
    precision: torch.dtype
    files: FoldFolder
    ranks: Ranks = ALONE
    announce: Callable[[Setup, Redirection], None] = _announce_nothing
    clock: Callable[[], float] = time.monotonic

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        training = self.plan.training
        progress = self.course.progress(step, training.schedule_epoch_steps)
        return learning_rate(progress, training.learning_rate, training.schedule)

    def batches(self, samples: Sequence[Sample], whole: bool = False) -> Batches:
        """Return what makes the batches of the run.

        Args:
            samples: training cases.
            whole: make all samples of each batch; else those of this process.
        """
        return Batches(
            samples,
            self.configuration,
            self.plan.training,
            self.device,
            None if whole else self.ranks.numbers(self.configuration.batch_size),
            input_channels(self.plan, self.configuration) - len(self.plan.data.channels),
        )

    @property
    def less_memory(self) -> str:
        """Which keys to lower where memory runs out, with their present values."""
        configuration = self.configuration
        key = f"configurations.{self.files.run.path.name}"
        return (
            f"Lower {key}.batch_size (now {configuration.batch_size}) or {key}.patch_voxels (now "
            f"{configuration.patch_voxels}): `{self.files.resume_command} --set {key}.batch_size="
            f"{max(1, configuration.batch_size // 2)}`; or, for a new run, {key}.network.features (now "
            f"{configuration.network.features}). `medseg plan` with --memory 8GB and --force plans for less memory."
        )
