"""What a run is made of, besides its network and its data; and how its course is changed on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from medseg.models.model import input_channels
from medseg.plans.schema import Configuration, Plan
from medseg.training.run.schedule import Leg, Legs, learning_rate, progress, redirected
from medseg.training.run.steering import Pace
from medseg.training.step.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Redirection:
    """That a run ends at another step than planned, from a step on."""

    step: int
    old: int
    new: int
    why: str

    def __str__(self) -> str:
        how = "faster" if self.new < self.old else "more slowly"
        return (
            f"{self.why}: {self.new} steps instead of {self.old}; from step {self.step} on the schedule is passed "
            f"through {how}, to its end"
        )


def _unheard(setup: Setup, redirection: Redirection) -> None:
    pass


@dataclass(frozen=True)
class Setup:
    """What a run is made of, besides its network and its data.

    Attributes:
        legs: of its schedule; none for a single one over all steps.
        pace: what steps take and when they are to be done, in a run that has a time budget.
        ended_early: its scores stood still, and the rest of its schedule is passed through.
        announce: is told when the course changes, with the setup from there on; by the first process.
    """

    plan: Plan
    configuration: Configuration
    steps: int
    device: torch.device
    precision: torch.dtype
    folder: Path
    legs: Legs = ()
    ranks: Ranks = ALONE
    pace: Pace | None = None
    ended_early: bool = False
    announce: Callable[[Setup, Redirection], None] = _unheard

    def __post_init__(self) -> None:
        if self.legs and self.legs[-1].stop != self.steps:
            raise ValueError(f"the legs end at step {self.legs[-1].stop}, the run at {self.steps}")

    @property
    def course(self) -> Legs:
        """The legs of the run: one over all steps, unless others were set."""
        return self.legs or (Leg(0, self.steps),)

    @property
    def previous_values(self) -> int:
        """Of a cascade's later stage, channels that the answer of the stage before takes."""
        return input_channels(self.plan, self.configuration) - len(self.plan.data.channels)

    def learning_rate(self, step: int) -> float:
        """That of a step."""
        training = self.plan.training
        at = progress(self.course, step, training.schedule_epoch_steps)
        return learning_rate(at, training.learning_rate, training.schedule)

    def patch_voxels(self, step: int) -> list[int]:
        """The patch of a step: a smaller one at the beginning of the schedule, if the plan says so."""
        training = self.plan.training
        early = progress(self.course, step) < training.small_patch_share
        return self.configuration.small_patch_voxels(training.small_patch_fraction if early else 1.0)

    def redirected(self, done: int, steps: int) -> Setup:
        """The setup of a run that after `done` steps passes through the rest of its schedule until `steps`."""
        return replace(self, steps=steps, legs=redirected(self.course, done, steps))
