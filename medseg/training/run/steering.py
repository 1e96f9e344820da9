"""When a run should end at another step than planned: its time runs out, or its scores no longer get better."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from medseg.training.run.schedule import validations_at

FEWEST_STEPS = 20
"""To come to the end of a schedule."""
_MARGIN = 0.98
_LATE, _LATE_OF_WHOLE = 0.03, 0.01
"""Share of the time left, and of the whole time, by which the end may be missed: what measuring may be wrong by."""
_EARLY = 0.1
"""Share of the whole time that may be left over."""
_TELLING_STEPS = 20
_TELLING_SHARE = 0.02
"""Of the whole time: steps are watched for as long before anything is made of their speed."""
_LEAST_GAIN = 0.001
_ANNEALING = 0.25
"""Steps to an early end, as a share of those before it."""


@dataclass(frozen=True)
class Pace:
    """What a run's steps were measured to take, and when the last one is to be done.

    Attributes:
        small_seconds: of a step with the smaller patch that a schedule may begin with.
        full_seconds: of a step with the full patch.
        small_share: of the schedule, from its start, that has the smaller patch.
        validation_seconds: of one validation between steps.
        since_seconds: wall-clock time that the run had used when they were measured.
        until_seconds: wall-clock time of the run at which its steps are to be done.
    """

    small_seconds: float
    full_seconds: float
    small_share: float
    validation_seconds: float = 0.0
    since_seconds: float = 0.0
    until_seconds: float = 0.0

    @property
    def whole_seconds(self) -> float:
        """The time that there was when the steps were measured."""
        return max(0.0, self.until_seconds - self.since_seconds)

    def of_step(self, progress: float) -> float:
        """Seconds of a step at a progress of 0 to 1."""
        return self.small_seconds if progress < self.small_share else self.full_seconds

    def of_rest(self, progress: float) -> float:
        """Mean seconds of the steps from there to the end of the schedule."""
        if progress >= self.small_share:
            return self.full_seconds
        small = (self.small_share - progress) / (1 - progress)
        return small * self.small_seconds + (1 - small) * self.full_seconds

    def left(self, progress: float, validations: int, used_seconds: float) -> float:
        """Seconds for the steps from there on, less those of the validations between them; the last is not among these.

        Args:
            used_seconds: of the run's wall-clock time.
        """
        to_come = max(0, validations - 1 - validations_at(progress, validations))
        return self.until_seconds - used_seconds - to_come * self.validation_seconds


class Stopwatch:
    """How much slower than measured steps are, since the watch was started; without what is done between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.restart(0)

    def restart(self, done: int) -> None:
        """Begin anew after `done` steps."""
        self._done, self._time = done, self._clock()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still in the block."""
        began = self._clock()
        yield
        self._time += self._clock() - began

    def slowdown(self, done: int, pace: Pace, progress: float) -> float | None:
        """Seconds of a step, as a multiple of what was measured; None as long as there are too few of them."""
        steps, seconds = done - self._done, self._clock() - self._time
        if steps < _TELLING_STEPS or seconds < _TELLING_SHARE * pace.whole_seconds:
            return None
        return seconds / steps / pace.of_step(progress)


def steps_in_time(done: int, steps: int, step_seconds: float, left_seconds: float, whole_seconds: float) -> int:
    """Of a run of `steps`, `done` of them done, the number of steps that time has room for.

    The number stays where the end is missed by little, and always where nothing is left to do.

    Args:
        step_seconds: of those to come, in the mean.
        left_seconds: until they are to be done.
        whole_seconds: that there were, which says what little is.
    """
    to_do = steps - done
    late = to_do * step_seconds - left_seconds
    if to_do <= 0 or -_EARLY * whole_seconds <= late <= max(_LATE * left_seconds, _LATE_OF_WHOLE * whole_seconds):
        return steps
    return done + max(min(to_do, FEWEST_STEPS), int(left_seconds * _MARGIN / step_seconds))


def early_end(scores: Sequence[float], patience: int, done: int, steps: int, start: int = 0) -> int:
    """The step at which a run ends; sooner than at `steps` if its scores no longer get better.

    It then has a quarter as many steps as it made, to come to the end of its schedule.

    Args:
        scores: mean Dice of its validations, in order.
        patience: this many of them without one that is better by 0.001 are enough; 0 for never.
        done: steps that are done.
        start: step at which the schedule began.
    """
    if not 0 < patience < len(scores):
        return steps
    before, lately = max(scores[:-patience]), max(scores[-patience:])
    if lately > before + _LEAST_GAIN:
        return steps
    return min(steps, done + max(FEWEST_STEPS, round((done - start) * _ANNEALING)))
