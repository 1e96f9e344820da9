"""The learning rate as a pure function of the step, and how far along its schedule a step is.

A run is a row of legs: one, unless its budget ran short (the rest of the schedule is then passed through in fewer
steps; in more, if it had time left), its scores stood still, or it was extended (a new schedule follows the old one).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import NamedTuple

_WARM_UP = 0.1
_START = 1 / 25
_END = 1e-4
_ROUNDING = 1e-9


class Leg(NamedTuple):
    """Steps `start` to `stop` (excluded), over which the schedule goes evenly from progress `begin` to `end`."""

    start: int
    stop: int
    begin: float = 0.0
    end: float = 1.0


Legs = tuple[Leg, ...]


def progress(legs: Legs, step: int, every: int = 1) -> float:
    """How much of its schedule a run has behind it before `step` (0-based): 0 at the start, 1 after the last.

    Args:
        every: it moves on only every so many steps of a leg, as in epochs.
    """
    leg = _leg(legs, step)
    if leg.begin == 0:  # what is left of a redirected schedule may be shorter than an epoch, and has to come to its end
        step -= (step - leg.start) % every
    return leg.begin + (leg.end - leg.begin) * ((step - leg.start) / (leg.stop - leg.start))


def redirected(legs: Legs, step: int, steps: int) -> Legs:
    """Come to the end of the schedule after `steps` in all, from where it is before `step`."""
    kept = [leg for leg in legs if leg.start < step]
    now = progress(legs, step)
    if kept and kept[-1].stop > step:
        kept[-1] = kept[-1]._replace(stop=step, end=now)
    return (*kept, Leg(step, steps, now, 1.0))


def extended(legs: Legs, more: int) -> Legs:
    """`more` steps with a new schedule after the end of the last one."""
    last = legs[-1].stop
    return (*legs, Leg(last, last + more))


def schedule_start(legs: Legs) -> int:
    """The step at which the last schedule began: 0, or the end of the one that was extended."""
    return max(leg.start for leg in legs if leg.begin == 0)


def legs_from(values: Sequence[Sequence[float]]) -> Legs:
    """Legs as a record holds them."""
    return tuple(Leg(int(start), int(stop), begin, end) for start, stop, begin, end in values)


def validation_due(legs: Legs, done: int, validations: int) -> bool:
    """Whether to validate after `done` steps: evenly over the schedule, the last time, at its end, excepted."""
    if not 0 < done < legs[-1].stop:
        return False
    before = _leg(legs, done - 1)
    if done == before.stop and before.end == 1.0:
        return False
    return validations_at(progress(legs, done), validations) > validations_at(progress(legs, done - 1), validations)


def validations_at(progress: float, validations: int) -> int:
    """How many validations of a schedule belong to a progress of 0 to 1 and less."""
    return int(progress * validations + _ROUNDING)


def learning_rate(progress: float, peak: float, schedule: str) -> float:
    """Learning rate at a progress of 0 to 1.

    poly: peak * (1 - progress)^0.9, nnU-Net's. one_cycle: up to the peak over the first tenth, down to almost
    nothing by the end, both along a cosine (Smith & Topin 2018, as in `torch.optim.lr_scheduler.OneCycleLR`).
    """
    if schedule == "poly":
        return peak * (1 - progress) ** 0.9
    if progress < _WARM_UP:
        return _between(peak * _START, peak, progress / _WARM_UP)
    return _between(peak, peak * _END, (progress - _WARM_UP) / (1 - _WARM_UP))


def _leg(legs: Legs, step: int) -> Leg:
    return next((leg for leg in legs if step < leg.stop), legs[-1])


def _between(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + cos(pi * fraction)) / 2
