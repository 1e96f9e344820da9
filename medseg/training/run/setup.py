"""The setup of a run besides its network and data. The loop holds it; only its course may change on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi

import torch

from medseg.models.model import input_channels
from medseg.models.record import ChangeRecord
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Configuration, Plan
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batches
from medseg.training.length.course import Course
from medseg.training.run.listener import NOBODY, RunListener
from medseg.training.step.ranks import ALONE, Ranks

_WARM_UP = 0.1
"""Share of the one-cycle schedule over which the rate rises."""
_START, _END = 1 / 25, 1e-4
"""First and last rate of the one-cycle schedule, as shares of the peak; the defaults of torch's OneCycleLR."""


def _announce_nothing(setup: Setup, change: ChangeRecord) -> None:
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
        listener: receives what the first process logs.
    """

    plan: Plan
    configuration: Configuration
    course: Course
    device: torch.device
    precision: torch.dtype
    files: FoldFolder
    ranks: Ranks = ALONE
    announce: Callable[[Setup, ChangeRecord], None] = _announce_nothing
    clock: Callable[[], float] = time.monotonic
    listener: RunListener = NOBODY

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0; that of step 100 in `log.jsonl` is the one of 99."""
        training = self.plan.training
        progress = self.course.progress(step, training.schedule_epoch_steps)
        return learning_rate(progress, training.learning_rate, training.schedule)

    def batches(self, samples: Sequence[Sample], whole: bool = False) -> Batches:
        """Return the maker of the run's batches.

        Args:
            samples: training cases.
            whole: make all samples of each batch; else those of this process.
        """
        sampling = self.plan.training.sampling
        return Batches(
            samples,
            self.configuration,
            self.plan.training,
            self.device,
            None if whole else self.ranks.numbers(self.configuration.batch_size),
            input_channels(self.plan, self.configuration) - len(self.plan.data.channels),
            [sampling.get(name, 1.0) for name in self.plan.labels.names] if sampling else (),
        )

    @property
    def less_memory(self) -> str:
        """Which keys to lower where memory runs out, with their present values."""
        configuration, features = self.configuration, self.configuration.network.features
        key = f"configurations.{self.files.run.path.name}"
        command = f"`{self.files.resume_command}`" if self.files.begun else "the command, given again,"
        batch = ""
        if configuration.batch_size > 1:
            half = configuration.batch_size // 2
            batch = f" {key}.batch_size (now {configuration.batch_size}), as in --set {key}.batch_size={half}, or"
        return (
            f"{command[0].upper()}{command[1:]} takes --set with lower values:{batch} {key}.patch_voxels (now "
            f"{configuration.patch_voxels}). "
            + (f"A new run can have lower {key}.network.features (now {features}). " if features else "")
            + "`medseg plan` with --memory 8GB and --force plans for less memory."
        )


def learning_rate(progress: float, peak: float, schedule: str) -> float:
    """Return the learning rate.

    Args:
        progress: how much of the schedule is done, 0 to 1.
        peak: the plan's `training.learning_rate`.
        schedule: `poly`: peak * (1 - progress)^0.9, nnU-Net's (`polylr.py`). `one_cycle`: up to the peak over the
            first tenth and down to almost nothing by the end, both along a cosine (Smith & Topin 2018, as in
            `torch.optim.lr_scheduler.OneCycleLR`). `cosine`: from the peak to 0 along a cosine (Loshchilov & Hutter
            2017, without restarts). `constant`: the peak throughout.

    >>> round(learning_rate(0.5, 0.01, "poly"), 6)
    0.005359
    >>> [round(learning_rate(progress, 1.0, "one_cycle"), 4) for progress in (0.0, 0.1, 1.0)]
    [0.04, 1.0, 0.0001]
    """
    if schedule == "poly":
        return peak * (1 - progress) ** 0.9
    if schedule == "cosine":
        return _along_cosine(peak, 0.0, progress)
    if schedule == "constant":
        return peak
    if progress < _WARM_UP:
        return _along_cosine(peak * _START, peak, progress / _WARM_UP)
    return _along_cosine(peak, peak * _END, (progress - _WARM_UP) / (1 - _WARM_UP))


def _along_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + cos(pi * fraction)) / 2
