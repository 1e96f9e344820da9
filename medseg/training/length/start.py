"""How many steps a session of a run makes: decided once, before its first step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medseg.core.wording import counted
from medseg.training.length.budget import Time, Work, fit_to_budget, keep_to_budget
from medseg.training.length.request import LengthRequest
from medseg.training.length.steering import Redirection
from medseg.training.run.setup import Setup


@dataclass(frozen=True)
class Earlier:
    """What earlier sessions of a run have left.

    Attributes:
        step: the step of the last checkpoint; 0 if there is none.
        seconds: wall-clock time that the run has used.
        budget_seconds: the time budget in seconds of the whole run; None where it has none.
    """

    step: int = 0
    seconds: float = 0.0
    budget_seconds: float | None = None


@dataclass(frozen=True)
class Length:
    """What was decided.

    Attributes:
        setup: the setup of the run, with its course.
        change: the change of the number of steps, if the run continues an earlier session; else None.
        notes: for the user.
    """

    setup: Setup
    change: Redirection | None = None
    notes: tuple[str, ...] = ()


def set_length(setup: Setup, request: LengthRequest, work: Work, earlier: Earlier, start_time: float) -> Length:
    """Decide how many steps a run makes.

    Args:
        setup: the setup of the run, with the course that it had or, for a new run, the course of the steps that the
            user gave.
        request: what was asked for.
        work: what has to be measured where time is limited.
        earlier: what earlier sessions of the run have left.
        start_time: time on the clock of the setup when the command began.

    Raises:
        PlanError: a budget leaves too little time to train at all.
    """
    if request.extend is not None and request.extend.seconds is not None:
        length = _within(setup, work, Time(request.extend.seconds, start_time, earlier.seconds))
        fitted = length.setup.course
        extended = replace(setup.course.extended(fitted.steps), pace=fitted.pace)
        return replace(length, setup=replace(length.setup, course=extended))
    if request.extend is not None:
        return Length(replace(setup, course=setup.course.extended(request.extend.more(setup.course.steps))))
    if request.resume:
        return _resumed(setup, work, earlier, start_time)
    if request.budget_seconds is not None:
        return _within(setup, work, Time(request.budget_seconds, start_time))
    return Length(setup)


def _within(setup: Setup, work: Work, clock: Time) -> Length:
    """Make as many steps as a budget leaves time for, and as many validations."""
    planned = setup.plan.training
    setup = fit_to_budget(setup, work, clock)
    validations = setup.plan.training.validations
    if validations == planned.validations:
        return Length(setup)
    note = f"Dice is measured {counted(validations, 'time')} instead of {planned.validations}, to keep to the budget"
    if planned.patience > 0 and validations <= planned.patience:
        note += f": too rarely for an early end (training.patience is {planned.patience})"
    return Length(setup, notes=(note,))


def _resumed(setup: Setup, work: Work, earlier: Earlier, start_time: float) -> Length:
    """Go on as the run was begun, with fewer steps where its budget does not leave time for all of them."""
    steps = setup.course.steps
    if earlier.budget_seconds is None or earlier.step >= steps:
        return Length(setup)
    # the budget is that of the whole run: it began to run before this command did, by the time already used
    clock = Time(earlier.budget_seconds, start_time - earlier.seconds)
    setup = keep_to_budget(setup, work, clock, earlier.step)
    if setup.course.steps == steps:
        return Length(setup)
    change = Redirection(earlier.step, steps, setup.course.steps, "to keep to the budget")
    return Length(setup, change, (str(change),))
