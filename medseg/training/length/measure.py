"""Measures what a training step takes, before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from copy import deepcopy

import torch

from medseg.networks.device import choosing_algorithms, memory_errors
from medseg.preprocessing.cache import Sample
from medseg.training.length.pace import FEWEST_STEPS
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

_WARM_UP_STEPS = 3
"""Steps in which libraries set themselves up; they are not counted."""
_FEWEST_MEASURED, _MOST_MEASURED = 5, 1000
"""Steps to measure after warming up, and in all."""
_MUCH_TOO_LONG = 2.0
"""How many times longer than a run has time for steps must be for no more of them to be measured."""


def measured_step_seconds(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    setup: Setup,
    seconds: float,
    most_seconds: float = float("inf"),
) -> float:
    """Return the time of a training step; the same in every process.

    It is measured on a copy of the network, which is thrown away.

    Args:
        network: as it is when training begins.
        samples: training cases.
        setup: the setup of the run.
        seconds: to measure for, about.
        most_seconds: that a run has for its steps; where they cannot suffice, fewer steps are measured.
    """
    with choosing_algorithms(setup.device), memory_errors(setup.less_memory):
        step_seconds = _time_steps(Trainer(deepcopy(network), setup), samples, setup, seconds, most_seconds)
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()  # what the trainer held, its recording included: the run needs it in other pieces
    return step_seconds


def _time_steps(
    trainer: Trainer, samples: Sequence[Sample], setup: Setup, seconds: float, most_seconds: float
) -> float:
    ranks, times = setup.ranks, [setup.clock()]
    with closing(setup.batches(samples).ahead(0)) as batches:
        for batch in batches:
            trainer.step(setup, 0, batch).item()  # waits for the device
            times.append(setup.clock())
            enough = times[-1] - times[0] > seconds and len(times) > _WARM_UP_STEPS + _FEWEST_MEASURED - 1
            # the first step may take any time, as kernels are compiled in it
            too_slow = len(times) > 2 and FEWEST_STEPS * (times[2] - times[1]) > _MUCH_TOO_LONG * most_seconds
            in_vain = too_slow or times[-1] - times[0] > most_seconds
            if ranks.first_says(enough or in_vain or len(times) > _MOST_MEASURED):
                break
    first = _WARM_UP_STEPS if len(times) > _WARM_UP_STEPS + 1 else 0
    return ranks.shared(lambda: (times[-1] - times[first]) / (len(times) - 1 - first))
