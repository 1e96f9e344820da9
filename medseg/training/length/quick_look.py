"""Estimates what a training step takes from a pass of a part of a patch: within seconds, before anything is prepared.

It serves to refuse budgets that are far too short and to say about how long a run takes; `measure` measures the steps
themselves.
"""

from __future__ import annotations

import time
from contextlib import suppress
from copy import deepcopy
from math import ceil, inf, prod

import torch

from medseg.core.errors import PlanError
from medseg.core.options import write_duration
from medseg.models.model import input_channels
from medseg.networks.device import autocast, choose_precision
from medseg.networks.unet import UNet
from medseg.plans.schema import Configuration, Plan
from medseg.training.length.pace import FEWEST_STEPS

_SLACK = 3.0
"""The estimate may be so many times too long before a budget is wrongly refused."""
_PASSES, _MOST_SECONDS = 4, 3.0
"""Passes, of which the shortest counts, as other programs may come in between; and seconds after which no further one
is made."""
_SMALLEST_UNITS = 2
"""Size along each axis of the image of a first pass that is not counted, in voxels of the deepest stage: on a machine
that medseg is new to, loops are compiled in it for some seconds. With one voxel there is nothing to normalize."""


def refuse_hopeless_budget(budget_seconds: float, step_seconds: float | None, option: str = "--budget") -> None:
    """Refuse a budget that is far too short for even the fewest steps of a run.

    Args:
        budget_seconds: the part of the budget that is left.
        step_seconds: the estimate; None where there is none, and nothing is refused.
        option: the option that the budget was given by.

    Raises:
        PlanError: the budget is hopeless.
    """
    if step_seconds is not None and FEWEST_STEPS * step_seconds > _SLACK * budget_seconds:
        raise hopeless(budget_seconds, step_seconds, option, "about ")


def hopeless(budget_seconds: float, step_seconds: float, option: str, about: str = "") -> PlanError:
    """Return the error for a budget that cannot hold the fewest steps.

    Args:
        budget_seconds: the part of the budget that is left.
        step_seconds: the seconds of a step.
        option: the option that the budget was given by.
        about: stands before the seconds of a step.
    """
    enough = 60 * ceil(_SLACK * (FEWEST_STEPS + 10) * step_seconds / 60 + 1)
    return PlanError(
        f"The budget leaves {max(budget_seconds, 0):.0f} s for training, and a step takes {about}{step_seconds:.2f} s "
        f"here; a run has {FEWEST_STEPS} steps at least, and validations.",
        f"Ask for much more time, such as {option} {write_duration(enough)}, or give the command that made the plan "
        "once more with `--memory 4GB --force`.",
    )


def estimated_step_seconds(
    network: torch.nn.Module, plan: Plan, configuration: Configuration, device: torch.device
) -> float | None:
    """Estimate a step from a pass, forward and back, of one image with about half a patch along each axis.

    Args:
        network: as it is when training begins; it is not changed.
        plan: the plan.
        configuration: the configuration of the network.
        device: to train on.

    Returns:
        The time in s; None on other devices than processors, as steps are short there, and for networks of other
        libraries, which may not take a part of a patch.
    """
    if device.type != "cpu" or not isinstance(network, UNet):
        return None
    patch, multiples = configuration.patch_voxels, configuration.network.divisor
    part = [
        ceil(size / 2 / unit) * unit if size > 2 * unit else size for size, unit in zip(patch, multiples, strict=True)
    ]
    smallest = [min(size, _SMALLEST_UNITS * unit) for size, unit in zip(part, multiples, strict=True)]
    network, precision = deepcopy(network), choose_precision(plan.training.precision, device)

    def pass_seconds(size: list[int]) -> float:
        image = torch.zeros(1, input_channels(plan, configuration), *size, device=device)
        start = time.monotonic()
        with autocast(device, precision):
            (answer,) = network(image, 1)
        answer.float().sum().backward()
        return time.monotonic() - start

    shortest = inf
    with torch.random.fork_rng([]), suppress(RuntimeError, MemoryError):  # of memory: the first step says what to do
        pass_seconds(smallest)
        begin = time.monotonic()
        for _ in range(_PASSES):
            shortest = min(shortest, pass_seconds(part))
            if time.monotonic() - begin > _MOST_SECONDS:
                break
    return shortest * configuration.batch_size * prod(patch) / prod(part) if shortest < inf else None
