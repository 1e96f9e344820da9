"""The course of a run: the legs of its schedule, the progress at each step, and changes of its end.

A run is a row of legs: one, unless its end was moved (the rest of the schedule is then passed through in fewer or in
more steps), or unless it was extended (a new schedule follows the old one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medseg.models.record import Leg
from medseg.training.length.pace import Pace, validations_passed


@dataclass(frozen=True)
class Course:
    """The steps of a run, and how its schedule advances over them.

    Attributes:
        legs: the legs of the run, without gaps, the first one from step 0.
        pace: measured times of steps and validations, in a run with a time budget; else None.
        ended_early: the run's Dice stood still, and the rest of its schedule is passed through quickly.
    """

    legs: tuple[Leg, ...]
    pace: Pace | None = None
    ended_early: bool = False

    @classmethod
    def over(cls, steps: int) -> Course:
        """Return the course of a run with a single schedule over `steps` steps.

        >>> Course.over(10).progress(5)
        0.5
        """
        return cls((Leg(0, steps),))

    @classmethod
    def recorded(cls, steps: int, legs: Sequence[Leg], ended_early: bool) -> Course:
        """Return the course that a run's record describes.

        Args:
            steps: the number of steps of the run, in all.
            legs: as the record lists them; empty for a single schedule over all steps.
            ended_early: whether the run is on its way to an early end.
        """
        return cls(tuple(legs) or (Leg(0, steps),), ended_early=ended_early)

    @property
    def steps(self) -> int:
        """Number of steps of the run, in all."""
        return self.legs[-1].stop

    @property
    def schedule_start(self) -> int:
        """The step at which the last schedule began: 0, or the end of the run that was extended."""
        return max(leg.start for leg in self.legs if leg.start_progress == 0)

    def progress(self, step: int, every: int = 1) -> float:
        """Return how much of its schedule the run has behind it before a step: 0 at the start, 1 after the last step.

        Args:
            step: 0-based.
            every: number of steps of a leg after which the progress advances, as in epochs.
        """
        leg = self._leg(step)
        if leg.start_progress == 0:  # the rest of a redirected schedule may be shorter than an epoch, and has to finish
            step -= (step - leg.start) % every
        share = (step - leg.start) / (leg.stop - leg.start)
        return leg.start_progress + (leg.stop_progress - leg.start_progress) * share

    def redirected(self, done: int, steps: int) -> Course:
        """Return the course with the end of its schedule moved to another step.

        Args:
            done: steps that are done; the schedule goes on from where it is after them.
            steps: the number of steps of the new course, in all.
        """
        kept = [leg for leg in self.legs if leg.start < done]
        now = self.progress(done)
        if kept and kept[-1].stop > done:
            kept[-1] = kept[-1]._replace(stop=done, stop_progress=now)
        return replace(self, legs=(*kept, Leg(done, steps, now, 1.0)))

    def extended(self, more: int) -> Course:
        """Return the course of `more` steps with a new schedule after the end of the last one."""
        return replace(self, legs=(*self.legs, Leg(self.steps, self.steps + more)), ended_early=False)

    def validation_due(self, done: int, validations: int) -> bool:
        """Return whether to validate after a step.

        Validations are spread evenly over each schedule. The last one, at the end of the schedule, is not counted: the
        finished network is scored by whoever started the run.

        Args:
            done: steps that are done.
            validations: the number of validations of each schedule, the last one included.
        """
        if not 0 < done < self.steps:
            return False
        leg = self._leg(done - 1)
        if done == leg.stop and leg.stop_progress == 1.0:
            return False
        before, now = self.progress(done - 1), self.progress(done)
        return validations_passed(now, validations) > validations_passed(before, validations)

    def _leg(self, step: int) -> Leg:
        return next((leg for leg in self.legs if step < leg.stop), self.legs[-1])
