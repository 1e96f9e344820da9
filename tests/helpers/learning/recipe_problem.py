"""A training problem that any program can be given: weights and batches that depend on nothing but a number.

`benchmarks/accuracy/recipe_losses.py` hands it to nnU-Net, and a test to medseg.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_plan, network_values
from numpy.typing import NDArray

from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.planning.recipe import with_nnunet_recipe
from medseg.plans.schema import Plan
from medseg.training.data.batches import Batch
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

LABELS = {"structures": {"one": 1, "two": 2}}
IGNORED = {**LABELS, "ignore": 3}
REGIONS = {"structures": {"whole": [1, 2], "core": [2]}, "activation": "sigmoid", "region_values": [1, 2]}
TINY: dict[str, Any] = {
    "patch_voxels": [16, 16, 16],
    "network": network_values(stages=4, features=[4, 8, 16, 16], strides=[[1] * 3, [1, 2, 2], [2] * 3, [2] * 3]),
}
RESIDUAL = network_values(stages=4, name="residual_unet", blocks=[1, 2, 1, 1])
VARIANTS: dict[str, dict[str, Any]] = {
    "labels": {"labels": LABELS},
    "labels, batch Dice": {"labels": LABELS, "configuration": {"batch_dice": True}},
    "regions": {"labels": REGIONS},
    "regions, batch Dice": {"labels": REGIONS, "configuration": {"batch_dice": True}},
    "ignore label": {"labels": IGNORED},
    "regions, ignore label": {"labels": {**REGIONS, "ignore": 3}},
    "residual encoder": {"labels": LABELS, "configuration": {"network": RESIDUAL}},
    "epochs of 10 steps": {"labels": LABELS, "epoch_steps": 10},
}


@dataclass(frozen=True)
class Problem:
    """A plan with nnU-Net's recipe, and how many steps an epoch and a run have."""

    plan: Plan
    steps: int
    seed: int = 0

    @property
    def channels(self) -> int:
        return len(self.plan.data.channels)


def tiny_problem(variant: str) -> Problem:
    """A network of four small stages, patches of 16^3, batches of two."""
    given = VARIANTS[variant]
    plan = with_nnunet_recipe(
        make_plan(configuration={**TINY, **given.get("configuration", {})}, labels=given["labels"])
    )
    epoch = given.get("epoch_steps", plan.training.schedule_epoch_steps)
    plan.training.schedule_epoch_steps = epoch
    return Problem(plan, 1000 * 250 if epoch == 250 else 5 * epoch)


def first_weights(problem: Problem) -> torch.nn.Module:
    """A network with weights drawn as Kaiming's rule says, by numpy and in the order of their names."""
    network = make_network(problem.plan, problem.plan.configuration(problem.plan.default_configuration))
    random = np.random.Generator(np.random.Philox(key=problem.seed))
    with torch.no_grad():
        for _, value in sorted(network.named_parameters()):
            inputs = value[0].numel() if value.ndim > 1 else 1
            drawn = random.standard_normal(tuple(value.shape)) * (np.sqrt(2 / inputs) if value.ndim > 1 else 0.1)
            value.copy_(torch.from_numpy(drawn + (value.ndim == 1)).float())
    return network


def batch(problem: Problem, step: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Image (batch, channel, ...) and label values (batch, ...) of one step: noisy blocks, some of them ignored."""
    configuration = problem.plan.configuration(problem.plan.default_configuration)
    random = np.random.Generator(np.random.Philox(key=problem.seed + 1, counter=[step, 0, 0, 0]))
    size, patch = configuration.batch_size, configuration.patch_voxels
    coarse = random.integers(0, 3, (size, *(length // 4 for length in patch)))
    label = coarse
    for axis in range(1, label.ndim):
        label = label.repeat(4, axis)
    noise = random.standard_normal((size, problem.channels, *patch))
    image = (label[:, None] - 1 + noise).astype(np.float32)
    if problem.plan.labels.ignore is not None:
        label = np.where(random.random(label.shape) < 0.3, problem.plan.labels.ignore, label)
    return image, label.astype(np.int16)


def our_losses(problem: Problem, steps: int) -> list[float]:
    """The losses of medseg's own trainer, before each of its first steps."""
    plan, name = problem.plan, problem.plan.default_configuration
    setup = Setup(
        plan,
        plan.configuration(name),
        Course.over(problem.steps),
        torch.device("cpu"),
        torch.float32,
        FoldFolder(Path()),
    )
    trainer = Trainer(first_weights(problem), setup)
    losses = []
    for step in range(steps):
        image, label = batch(problem, step)
        target = plan.labels.encode(label, "a batch")
        losses.append(float(trainer.step(setup, step, Batch(torch.from_numpy(image), torch.from_numpy(target)))))
    return losses
