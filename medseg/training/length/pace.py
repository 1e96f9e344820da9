"""The pace of a run: times of steps and validations, and the number of steps that fit into the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FEWEST_STEPS = 20
"""Steps that a run is given to come to the end of its schedule, at least."""
_REPLANNED_SHARE = 0.98
"""Share of the time left that a run on its way is planned with: more than at its start, as its own steps were seen."""
_LATE, _LATE_OF_WHOLE = 0.03, 0.01
"""Shares of the time left and of the whole time by which the end may be missed before the course is changed: about the
error of the measurement."""
_EARLY = 0.1
"""Share of the whole time that may be left over before steps are added."""
_FEWEST_WATCHED_STEPS = 20
_LEAST_WATCHED_SHARE = 0.02
"""Share of the whole time that steps are watched for before their speed counts: shorter times are mostly noise."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Pace:
    """The measured times of a run with a budget, in seconds of wall-clock time.

    Attributes:
        step_seconds: the seconds that one step takes.
        validation_seconds: the seconds that one validation between steps takes.
        since_seconds: time that the run had used when the steps were measured.
        until_seconds: time of the run at which its steps have to be done; what follows is left for the final scores.
    """

    step_seconds: float
    validation_seconds: float = 0.0
    since_seconds: float = 0.0
    until_seconds: float = 0.0

    @property
    def whole_seconds(self) -> float:
        """Time between the measurement and the planned end of the steps."""
        return max(0.0, self.until_seconds - self.since_seconds)

    def seconds_for_steps(self, progress: float, validations: int, used_seconds: float) -> float:
        """Return the time that is left for steps, without that of the validations between them.

        Args:
            progress: how much of the schedule is done, 0 to 1.
            validations: the number of validations of the whole schedule; the last one follows the last step and is not
                counted here.
            used_seconds: time that the run has used.
        """
        to_come = max(0, validations - 1 - validations_passed(progress, validations))
        return self.until_seconds - used_seconds - to_come * self.validation_seconds


class Stopwatch:
    """Measures the steps of a run in training, without what is done between them.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.restart(0)

    def restart(self, done: int) -> None:
        """Start measuring again after `done` steps."""
        self._first_step, self._start_time = done, self._clock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time that the block takes."""
        pause_start = self._clock()
        yield
        self._start_time += self._clock() - pause_start

    def step_seconds(self, done: int, whole_seconds: float) -> float | None:
        """Return the mean seconds of a step since the start; None while too few were seen to judge.

        Args:
            done: steps that are done.
            whole_seconds: the seconds that the run has for its steps.
        """
        steps, seconds = done - self._first_step, self._clock() - self._start_time
        if steps < _FEWEST_WATCHED_STEPS or seconds < _LEAST_WATCHED_SHARE * whole_seconds:
            return None
        return seconds / steps


def validations_passed(progress: float, validations: int) -> int:
    """Return how many validations belong to the first part of a schedule.

    Args:
        progress: how much of the schedule is done, 0 to 1.
        validations: the number of validations of the whole schedule.

    >>> [validations_passed(progress, 4) for progress in (0.2, 0.25, 0.9, 1.0)]
    [0, 1, 3, 4]
    """
    return int(progress * validations + _ROUNDING)


def steps_in_time(done: int, steps: int, step_seconds: float, left_seconds: float, whole_seconds: float) -> int:
    """Return the number of steps, in all, that a run has time for.

    The planned number stays if all steps are done, or if the run would end only a little too early or too late.

    Args:
        done: the number of steps that are done.
        steps: the number of steps that were planned, in all.
        step_seconds: the mean time that each further step takes.
        left_seconds: the time that is left for the steps.
        whole_seconds: the seconds that the run had for all its steps; what counts as a small delay is a share of them.
    """
    to_do = steps - done
    late = to_do * step_seconds - left_seconds
    if to_do <= 0 or -_EARLY * whole_seconds <= late <= max(_LATE * left_seconds, _LATE_OF_WHOLE * whole_seconds):
        return steps
    return done + max(min(to_do, FEWEST_STEPS), int(left_seconds * _REPLANNED_SHARE / step_seconds))
