"""A wall-clock budget to a number of steps: measured before training starts, so that the schedule can anneal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from medseg.commands.train.validate import DiceProbe
from medseg.core.errors import PlanError
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case_image
from medseg.preprocessing.cache import Sample
from medseg.training.run.fit import measured_pace
from medseg.training.run.schedule import progress
from medseg.training.run.setup import Setup
from medseg.training.run.steering import FEWEST_STEPS, Pace, steps_in_time

_MEASURE_SECONDS = 3.0
_MARGIN = 0.96
_SAVING_SECONDS = 3.0
_LONG_SECONDS = 2.0
_MOST_FOR_LOOKING = 0.1
"""Share of a budget for validations during training; where they would take more, there are fewer."""


def fit_to_budget(
    setup: Setup,
    network: torch.nn.Module,
    samples: Sequence[Sample],
    validations: tuple[float, float],
    budget_seconds: float,
    started: float,
) -> Setup:
    """The setup with as many steps as the budget leaves time for.

    Args:
        validations: seconds that those during training and the final one will take.
        started: `time.monotonic()` when the command began; the budget counts from there.

    Raises:
        PlanError: the budget leaves too little time to train at all.
    """
    during, final = validations
    planned = setup.plan.training.validations
    each = during / max(1, planned - 1)
    affordable = planned if each == 0 else min(planned, 1 + int(_MOST_FOR_LOOKING * budget_seconds / each))
    setup = _with_validations(setup, setup.ranks.first_says(affordable))
    pace = _pace(network, samples, setup, (each, final), budget_seconds, started)
    step = pace.of_rest(0.0)
    left = setup.ranks.first_says(pace.left(0.0, setup.plan.training.validations, time.monotonic() - started) * _MARGIN)
    if left < FEWEST_STEPS * step:
        raise PlanError(
            f"The budget leaves {max(left, 0):.0f} s for training, and a step takes {step:.2f} s.",
            f"Ask for at least {(FEWEST_STEPS * step - left) / _MARGIN + 1:.0f} s more.",
        )
    return replace(setup, steps=int(left / step), pace=pace)


def _with_validations(setup: Setup, validations: int) -> Setup:
    """The setup with fewer validations, and the plan's reason for it."""
    if validations == setup.plan.training.validations:
        return setup
    training = setup.plan.training.model_copy(update={"validations": validations})
    why = f"fewer than planned: they may take {_MOST_FOR_LOOKING:.0%} of the budget"
    reasons = setup.plan.reasons | {"training.validations": why}
    return replace(setup, plan=setup.plan.model_copy(update={"training": training, "reasons": reasons}))


def keep_to_budget(
    setup: Setup,
    network: torch.nn.Module,
    samples: Sequence[Sample],
    validations: tuple[float, float],
    step: int,
    started: float,
    budget_seconds: float,
) -> Setup:
    """The setup of a run that goes on at `step`: as it was where the time suffices, else with fewer steps.

    The schedule is then passed through faster from where it is, so that the run still anneals to its end.

    Args:
        validations: seconds that those of a whole run and the final one will take.
        started: `time.monotonic()` when the run began, or would have without the time between its parts.
    """
    if step >= setup.steps:
        return setup
    now, planned = progress(setup.course, step), setup.plan.training.validations
    during, final = validations
    pace = _pace(network, samples, setup, (during / max(1, planned - 1), final), budget_seconds, started, now)
    left = pace.left(now, planned, time.monotonic() - started)
    fitting = steps_in_time(step, setup.steps, pace.of_rest(now), left, pace.whole_seconds)
    steps = setup.ranks.first_says(min(fitting, setup.steps))
    setup = replace(setup, pace=pace)
    return setup.redirected(step, steps) if steps < setup.steps else setup


def _pace(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    setup: Setup,
    validations: tuple[float, float],
    budget_seconds: float,
    started: float,
    start: float = 0.0,
) -> Pace:
    """What steps take from progress `start` on, and when they are to be done.

    Args:
        validations: seconds of one during the run, and of the final one.
    """
    each, final = validations
    pace = measured_pace(network, samples, setup, _MEASURE_SECONDS, start)
    used = time.monotonic() - started
    return replace(pace, validation_seconds=each, since_seconds=used, until_seconds=budget_seconds - final)


def validation_seconds(
    probe: DiceProbe, network: torch.nn.Module, predictor: Predictor, held_out: Sequence[Sample]
) -> tuple[float, float]:
    """Time of all validations during the run and of the final one, from one volume each way, by number of voxels."""
    first, *_ = probe.samples
    probed = sum(sample.label.numel() for sample in probe.samples) / first.label.numel()
    during = _seconds(lambda: probe.one(network)) * probed * (probe.plan.training.validations - 1)
    if not held_out:
        return during, 0.0
    image = load_case_image(first.case, len(probe.plan.data.channels), probe.plan.data.reading)
    volumes = sum(sample.label.numel() for sample in held_out) / first.label.numel()
    return during, _seconds(lambda: predictor(image)) * volumes + _SAVING_SECONDS


def _seconds(call: Callable[[], object]) -> float:
    """Time of a call; of a second one where the first is short, as it has more to set up than to do."""
    for _ in range(2):
        began = time.monotonic()
        call()
        spent = time.monotonic() - began
        if spent > _LONG_SECONDS:
            break
    return spent
