"""Decide whether a run in training ends at another step than planned: its time runs out, or its Dice stands still."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from medseg.models.record import ChangeRecord
from medseg.plans.sections.training import Training
from medseg.training.length.course import Course
from medseg.training.length.pace import FEWEST_STEPS, Stopwatch, steps_in_time
from medseg.training.step.ranks import Ranks

_LEAST_GAIN = 0.001
"""A smaller gain of the mean Dice does not count as better."""
_ANNEALING = 0.25
"""Steps to an early end, as a share of the steps before it."""


def steps_change(step: int, old: int, new: int, why: str) -> ChangeRecord:
    """Return the change of a run's last step, as its record keeps it.

    Args:
        step: after which the change holds.
        old: number of steps so far planned.
        new: number of steps from now on.
        why: the reason, as the beginning of a sentence.
    """
    return ChangeRecord(step=step, key="steps", old=old, new=new, why=why)


def describe_steps_change(change: ChangeRecord) -> str:
    """Return the note on what `steps_change` returned.

    >>> describe_steps_change(steps_change(20, 200, 40, "to keep to the budget"))
    'to keep to the budget: 40 steps instead of 200; from step 20 on the schedule is passed through faster, to its end'
    """
    how = "faster" if change.new < change.old else "more slowly"
    return (
        f"{change.why}: {change.new} steps instead of {change.old}; from step {change.step} on the schedule is passed "
        f"through {how}, to its end"
    )


def mean_dice(scores: Mapping[str, float | None]) -> float | None:
    """Return the mean over the structures that have a score; None if none has.

    >>> mean_dice({"liver": 0.9, "tumour": None, "vessel": 0.7})
    0.8
    """
    known = [dice for dice in scores.values() if dice is not None]
    return sum(known) / len(known) if known else None


class Steering:
    """Decides at which step a run ends. All processes of a run decide the same: what the first one does.

    Args:
        ranks: this process among those that train together.
        training: section of the plan, with the number of validations and the patience.
        dice: mean Dice of the validations since the schedule began, in order.
        clock: returns seconds.

    Attributes:
        stopwatch: measures the steps.
        dice: to which the loop appends the mean Dice of each validation.
    """

    def __init__(self, ranks: Ranks, training: Training, dice: Sequence[float], clock: Callable[[], float]) -> None:
        self._ranks = ranks
        self._training = training
        self.stopwatch = Stopwatch(clock)
        self.dice = list(dice)

    def end_in_time(self, course: Course, done: int, used_seconds: float) -> int:
        """Return the last step of a run with a budget: sooner where steps are slower than measured, else later.

        Args:
            course: the course of the run, with its pace.
            done: steps that are done.
            used_seconds: wall-clock time of the run.
        """
        pace, steps = course.pace, course.steps
        if pace is None or done >= steps:
            return steps
        step_seconds = self.stopwatch.step_seconds(done, pace.whole_seconds)
        if step_seconds is not None:
            left = pace.seconds_for_steps(course.progress(done), self._training.validations, used_seconds)
            steps = steps_in_time(done, steps, step_seconds, left, pace.whole_seconds)
        # a run on its way to an early end gets no further steps, however fast it is
        return self._ranks.first_says(min(steps, course.steps) if course.ended_early else steps)

    def end_without_gain(self, course: Course, done: int) -> int:
        """Return the last step of a run: sooner where its Dice has stood still for `training.patience` validations.

        Args:
            course: the course of the run.
            done: steps that are done.
        """
        if course.ended_early:
            return course.steps
        steps = early_end(self.dice, self._training.patience, done, course.steps, course.schedule_start)
        return self._ranks.first_says(steps)


def early_end(scores: Sequence[float], patience: int, done: int, steps: int, start: int = 0) -> int:
    """Return the step at which a run ends: sooner than planned if its scores have stood still.

    It then makes a quarter of the steps that it has made, to come to the end of its schedule.

    Args:
        scores: mean Dice of its validations, in order.
        patience: number of validations in a row without a Dice that is better by 0.001; 0 for no early end.
        done: steps that are done.
        steps: planned, in all.
        start: step at which the schedule began.
    """
    if not 0 < patience < len(scores):
        return steps
    if max(scores[-patience:]) > max(scores[:-patience]) + _LEAST_GAIN:
        return steps
    return min(steps, done + max(FEWEST_STEPS, round((done - start) * _ANNEALING)))
