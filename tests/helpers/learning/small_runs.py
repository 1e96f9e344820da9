"""Runs of seconds for tests of the loop: noisy blobs, a small network, and the recipes to train it with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_augmentation, make_plan, make_sample, make_training, network_values
from scipy import ndimage

from medseg.core.progress import silent
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.length.course import Course
from medseg.training.run.fit import fit
from medseg.training.run.setup import Setup

CPU = torch.device("cpu")


def blob_samples(shape: tuple[int, ...], count: int = 3) -> list[Sample]:
    """Noisy scans of blobs at two intensities."""
    samples = []
    for number in range(count):
        rng = np.random.default_rng(number)
        sigma = [0 if size == 1 else 3 for size in shape]
        height = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
        label = (height > np.quantile(height, 0.6)).astype(int) + (height > np.quantile(height, 0.85))
        samples.append(make_sample(label - 0.5 + 0.2 * rng.normal(size=shape), label, name=str(number)))
    return samples


def plan_of(dimensions: int, **training: Any) -> Plan:
    stages = 4 if dimensions == 2 else 3
    configuration = {
        "patch_voxels": [16] * 3 if dimensions == 3 else [32, 32],
        "network": network_values(dimensions, stages, features=[8 * 2**stage for stage in range(stages)]),
        "normalization": [{"scheme": "none"}],
    }
    return make_plan(dimensions, configuration, training=make_training(**training).model_dump())


def setup_of(plan: Plan, folder: Path, steps: int) -> Setup:
    return Setup(plan, plan.configuration("main"), Course.over(steps), CPU, torch.float32, FoldFolder(folder))


def new_network(plan: Plan, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return make_network(plan, plan.configuration("main"))


def no_validation(network: torch.nn.Module) -> dict[str, float | None]:
    return {}


def run(
    plan: Plan, samples: Sequence[Sample], folder: Path, steps: int, callback: Any = silent, resume: bool = False
) -> dict[str, torch.Tensor]:
    """Weights after a run from fresh weights."""
    best = fit(new_network(plan), samples, setup_of(plan, folder, steps), no_validation, callback, resume)
    return {name: value.clone() for name, value in best.state_dict().items()}


RECIPES = {
    "adamw": {"optimizer": "adamw", "learning_rate": 0.02, "schedule": "one_cycle"},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "poly"},
    "muon": {  # with averaged weights
        "optimizer": "muon",
        "learning_rate": 0.02,
        "schedule": "one_cycle",
        "average_weights": 0.9,
    },
}


EVERYTHING = {
    "augmentation": make_augmentation(
        rotation_probability=0.5, noise_probability=0.5, gamma_probability=0.5, low_resolution_probability=0.5
    ).model_dump()
}
