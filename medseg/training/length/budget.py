"""From a wall-clock budget to a number of steps, measured before training starts, so that the schedule can anneal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import torch

from medseg.core.errors import PlanError
from medseg.preprocessing.cache import Sample
from medseg.training.length.course import Course
from medseg.training.length.measure import measured_step_seconds
from medseg.training.length.pace import FEWEST_STEPS, Pace, steps_in_time
from medseg.training.length.quick_look import hopeless
from medseg.training.run.setup import Setup

_MEASURE_SECONDS = 3.0
_PLANNED_SHARE = 0.96
"""Share of the time that a run is planned with at its start; the rest is for what the measurement did not see."""
_FORWARD_SHARE = 0.5
"""Time of a forward pass with its loss, as a share of a training step: a third of the arithmetic of a step, whose
backward pass is the rest; more than that, as the overheads of a step do not shrink with it."""
_MOST_FOR_VALIDATIONS = 0.1
"""Share of a budget for validations during training; where they would take more, there are fewer."""


class ValidationSeconds(NamedTuple):
    """The time of validations, in seconds.

    Attributes:
        each: one of those during training, without the validation loss.
        final: the final one, with scores and report.
        loss_batches: number of batches whose loss each of those during training measures.
    """

    each: float
    final: float
    loss_batches: int = 0

    def with_loss(self, step_seconds: float) -> ValidationSeconds:
        """Return the same with the time of the validation loss in `each`, which follows from that of a step."""
        loss_seconds = self.loss_batches * _FORWARD_SHARE * step_seconds
        return ValidationSeconds(self.each + loss_seconds, self.final)


@dataclass(frozen=True)
class Work:
    """The parts of a run whose time is measured to find how many steps fit into its budget.

    Attributes:
        network: as it is when training begins.
        samples: training cases.
        measure_validations: measures what validations take; the same in every process.
    """

    network: torch.nn.Module
    samples: Sequence[Sample]
    measure_validations: Callable[[], ValidationSeconds]


@dataclass(frozen=True)
class Time:
    """The wall-clock time of a run.

    Attributes:
        budget_seconds: for this session or, where a run goes on in its old budget, for the whole run.
        start_time: time on the clock of the setup when the budget began to run.
        earlier_seconds: time of the run before that.
    """

    budget_seconds: float
    start_time: float
    earlier_seconds: float = 0.0

    def left(self, now: float) -> float:
        """Return what is left of the budget at a time on the clock of the setup, in seconds."""
        return self.budget_seconds - (now - self.start_time)

    def pace(self, step_seconds: float, validations: ValidationSeconds, now: float) -> Pace:
        """Return the pace of the run: the seconds of a step and of a validation, and when steps have to end.

        Args:
            step_seconds: the seconds of a step.
            validations: their seconds, with those of the validation loss.
            now: time on the clock of the setup.
        """
        since = self.earlier_seconds + now - self.start_time
        until = self.earlier_seconds + self.budget_seconds - validations.final
        return Pace(step_seconds, validations.each, since, until)


def fit_to_budget(setup: Setup, work: Work, clock: Time) -> Setup:
    """Return the setup with a single schedule over as many steps as a budget leaves time for.

    Args:
        setup: the setup of the run; validations that would take too much of the budget are left out of its plan.
        work: the parts of the run to measure.
        clock: the budget.

    Raises:
        PlanError: the budget leaves too little time to train at all.
    """
    option = "--extend" if clock.earlier_seconds else "--budget"
    step_seconds = measured_step_seconds(work.network, work.samples, setup, _MEASURE_SECONDS, clock.left(setup.clock()))
    without_validations = setup.ranks.first_says(clock.left(setup.clock()))
    if without_validations < FEWEST_STEPS * step_seconds:  # validations may take minutes, too
        raise hopeless(without_validations, step_seconds, option)
    validations = work.measure_validations().with_loss(step_seconds)
    planned = setup.plan.training.validations
    affordable = 1 + int(_MOST_FOR_VALIDATIONS * clock.budget_seconds / max(validations.each, 1e-9))
    setup = _with_validations(setup, setup.ranks.first_says(min(planned, affordable)))
    pace = clock.pace(step_seconds, validations, setup.clock())
    left = pace.seconds_for_steps(0.0, setup.plan.training.validations, pace.since_seconds) * _PLANNED_SHARE
    left = setup.ranks.first_says(left)
    if left < FEWEST_STEPS * pace.step_seconds:
        more = (FEWEST_STEPS * pace.step_seconds - left) / _PLANNED_SHARE + 1
        raise PlanError(
            f"The budget leaves {max(left, 0):.0f} s for training, and a step takes {pace.step_seconds:.2f} s.",
            f"Ask for at least {more:.0f} s more: {option} {ceil(clock.budget_seconds + more)}s",
        )
    return replace(setup, course=replace(Course.over(int(left / pace.step_seconds)), pace=pace))


def keep_to_budget(setup: Setup, work: Work, clock: Time, done: int) -> Setup:
    """Return the setup of a run that goes on, with fewer steps where its budget leaves no time for all of them.

    The schedule is then passed through faster from where it is, so that the run still anneals to its end.

    Args:
        setup: the setup of the run, as it was.
        work: the parts of the run to measure.
        clock: the budget of the whole run.
        done: steps that are done.
    """
    course, planned = setup.course, setup.plan.training.validations
    validations = work.measure_validations()
    step_seconds = measured_step_seconds(work.network, work.samples, setup, _MEASURE_SECONDS)
    pace = clock.pace(step_seconds, validations.with_loss(step_seconds), setup.clock())
    left = pace.seconds_for_steps(course.progress(done), planned, pace.since_seconds)
    steps = steps_in_time(done, course.steps, pace.step_seconds, left, pace.whole_seconds)
    steps = setup.ranks.first_says(min(steps, course.steps))
    course = course if steps == course.steps else course.redirected(done, steps)
    return replace(setup, course=replace(course, pace=pace))


def _with_validations(setup: Setup, validations: int) -> Setup:
    """Return the setup with another number of validations, and the plan's reason for it."""
    if validations == setup.plan.training.validations:
        return setup
    training = setup.plan.training.model_copy(update={"validations": validations})
    why = f"fewer than planned: they may take {_MOST_FOR_VALIDATIONS:.0%} of the budget"
    reasons = setup.plan.reasons | {"training.validations": why}
    return replace(setup, plan=setup.plan.model_copy(update={"training": training, "reasons": reasons}))
