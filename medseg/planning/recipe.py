"""Recipes for training and prediction: the presets `gpu` (nnU-Net's) and `cpu` (short runs), and `--recipe nnunet`.

nnU-Net's figures are those of nnU-Net v2's `training/nnUNetTrainer/nnUNetTrainer.py`. Those of the preset `cpu` were
measured for the most Dice per minute on a few cores (docs/benchmarks/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.core.errors import PlanError
from medseg.planning.rules import ConfigurationProposal
from medseg.plans.file import dump_plan, load_plan, parse_plan
from medseg.plans.schema import Plan
from medseg.plans.sections.training import Training

_NNUNET_EPOCH_STEPS = 250
"""Steps of an epoch (`num_iterations_per_epoch`); nnU-Net's learning rate changes once an epoch."""
_NNUNET_STEPS = 1000 * _NNUNET_EPOCH_STEPS
"""Length of nnU-Net's training (`num_epochs`)."""
_CPU_STEPS = 4000
"""Length of a short run; `--budget` replaces it by what fits the time."""
CPU_MEMORY_GB = 2.0
"""Memory that the preset `cpu` plans patches for: a quarter of nnU-Net's, as a step has to be short."""
_CPU_WIDTH = 0.5
"""Share of the usual features per stage; half the width is a quarter of the work."""
_CPU_LEAST_FEATURES = 8
"""Features that a stage keeps when the network is narrowed."""
_CPU_MOST_PATCHES = {2: 4, 3: 2}
"""Largest batch in 2D and 3D: in a short run more steps are worth more than larger batches."""
_DUMMY_2D_RATIO = 3
"""A patch this many times longer within slices than across is changed within slices only (`ANISO_THRESHOLD`)."""
_SQUARE_RATIO = 1.5
"""A 2D patch whose edges differ by more than this factor loses its content when it is turned far."""
_MACHINE_KEYS = ("precision", "cuda_graph", "seed")
"""Keys that depend on the machine and the run, not on the recipe."""

_AUGMENTATION: dict[str, Any] = {
    "rotation_probability": 0.2,
    "scaling_probability": 0.2,
    "scaling_range": [0.7, 1.4],
    "noise_probability": 0.1,
    "noise_std": [0.0, 0.1],
    "blur_probability": 0.2,
    "blur_sigma_voxels": [0.5, 1.0],
    "brightness_probability": 0.15,
    "brightness_factor": [0.75, 1.25],
    "contrast_probability": 0.15,
    "contrast_factor": [0.75, 1.25],
    "low_resolution_probability": 0.25,
    "low_resolution_zoom": [0.5, 1.0],
    "gamma_probability": 0.3,
    "gamma_inverted_probability": 0.1,
    "gamma_range": [0.7, 1.5],
}
"""nnU-Net v2's, from `nnUNetTrainer.get_training_transforms`."""

_STRONGER_2D: dict[str, Any] = {
    "rotation_probability": 0.6,
    "scaling_probability": 0.6,
    "brightness_probability": 0.3,
    "contrast_probability": 0.4,
    "gamma_probability": 0.5,
}
"""Changes to 2D images that are made more often in short runs, which see the similar slices of few patients often.

Measured in docs/benchmarks/accuracy.md.
"""


def for_short_runs(proposed: ConfigurationProposal) -> ConfigurationProposal:
    """Return a configuration as the preset `cpu` has it: more steps in the same time, for runs of minutes.

    Args:
        proposed: what the rules propose, with reasons.
    """
    dimensions, reasons = len(proposed.patch_voxels), dict(proposed.reasons)
    batch = min(proposed.batch_size, _CPU_MOST_PATCHES[dimensions])
    if batch < proposed.batch_size:
        reasons["batch_size"] = f"{batch} for the preset cpu, for more steps in a short run; {reasons['batch_size']}"
    reasons["features"] = "half of the usual width, for the preset cpu: a quarter of the work"
    return replace(
        proposed,
        batch_size=batch,
        features=tuple(max(_CPU_LEAST_FEATURES, int(count * _CPU_WIDTH)) for count in proposed.features),
        reasons=reasons,
    )


def training_recipe(preset: str, dimensions: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the training section of a plan.

    Args:
        preset: `gpu` or `cpu`.
        dimensions: 2 for images, 3 for volumes.

    Returns:
        The values of the section by key, and dotted key -> reason.
    """
    common = {
        "foreground_fraction": 0.33,
        "deep_supervision": True,
        "dice_weight": 1.0,
        "cross_entropy_weight": 1.0,
        "precision": "auto",
        "seed": 0,
    }
    if preset == "gpu":
        of_preset = {
            "steps": _NNUNET_STEPS,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "momentum": 0.99,
            "weight_decay": 3e-5,
            "schedule": "poly",
            "gradient_clip": 12.0,
            "average_weights": 0.0,
            "validations": 50,
            "validation_cases": 10,
        }
        reasons = {
            "steps": "1000 epochs of 250 steps, nnU-Net's length; --budget and --steps shorten it",
            "optimizer": "nnU-Net's recipe for long runs: SGD with Nesterov momentum, polynomial decay",
        }
    else:
        of_preset = {
            "steps": _CPU_STEPS,
            "optimizer": "muon",
            "learning_rate": 0.006,
            "momentum": 0.95,
            "weight_decay": 0.01,
            "schedule": "one_cycle",
            "gradient_clip": 12.0,
            "average_weights": 0.99,
            "validations": 4,
            "validation_cases": 6,
        }
        reasons = {
            "steps": "a short run for a CPU; --budget fits it to a wall-clock time",
            "optimizer": "more Dice in a short run than with AdamW (docs/benchmarks/accuracy.md)",
            "average_weights": "their moving average is better while the rate is high (docs/benchmarks/accuracy.md)",
        }
    augmentation, reasons["augmentation"] = dict(_AUGMENTATION), "nnU-Net's probabilities and ranges"
    if preset == "cpu" and dimensions == 2:
        augmentation |= _STRONGER_2D
        reasons["augmentation"] = "nnU-Net's ranges, more often: short runs on 2D images of few patients gain from it"
    return {**of_preset, **common, "augmentation": augmentation}, {
        f"training.{key}": text for key, text in reasons.items()
    }


_USUAL_RATES = {"sgd": (1e-3, 0.2), "adam": (1e-5, 5e-3), "adamw": (1e-5, 5e-3), "muon": (5e-4, 0.1)}
"""Optimizer -> the learning rates that are usual for it."""


def note_on_rate(training: Training) -> list[str]:
    """Return a note where the learning rate is unusual for the optimizer, as where one was changed without the other.

    Args:
        training: the plan's section.
    """
    least, most = _USUAL_RATES[training.optimizer]
    rate = training.learning_rate
    if least <= rate <= most:
        return []
    return [
        f"training.learning_rate is {rate:g}, which is {'high' if rate > most else 'low'} for {training.optimizer}: "
        f"{least:g} to {most:g} is usual"
    ]


def inference_recipe() -> dict[str, Any]:
    """Return the inference section of a plan: the sliding window of nnU-Net v2 (`sliding_window_prediction.py`)."""
    return {
        "step_fraction": 0.5,
        "gaussian_sigma_fraction": 0.125,
        "mirror": True,
        "precision": "auto",
        "tile_batch": "auto",
    }


def rotation_limits(patch_voxels: Sequence[int]) -> tuple[list[float], bool, str]:
    """Return how far patches of this size may be rotated.

    Source: nnU-Net v2, `nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size`.

    Args:
        patch_voxels: size of the patch along each axis, the coarsest first.

    Returns:
        Degrees about each axis, or a single one for rotations within slices; whether all changes of space stay within
        slices; and the reason.
    """
    longest = max(patch_voxels)
    if len(patch_voxels) == 2:
        if longest / min(patch_voxels) > _SQUARE_RATIO:
            return [15.0], True, "the patch is long and narrow, so little rotation keeps its content inside"
        return [180.0], True, "the patch is nearly square, so it may be turned freely"
    if longest / patch_voxels[0] > _DUMMY_2D_RATIO:
        return [180.0], True, "slices are few and far apart: rotation and scaling stay in the slice plane"
    return [30.0, 30.0, 30.0], False, "nnU-Net's limit in 3D"


def with_nnunet_recipe(plan: Plan) -> Plan:
    """Return a plan with nnU-Net's way of training, for `--recipe nnunet`.

    Optimizer, schedule (the learning rate changes once an epoch), gradient clip, sampling, augmentation and loss become
    nnU-Net's, without anything that it does not do. Network, patch and batch stay, and so do the keys that depend on
    the machine: precision, seed and the use of CUDA graphs.
    """
    recipe, _ = training_recipe("gpu", plan.data.dimensions)
    recipe["schedule_epoch_steps"] = _NNUNET_EPOCH_STEPS
    reasons = {key: reason for key, reason in plan.reasons.items() if not key.startswith("training.")}
    reasons |= {f"training.{key}": "nnU-Net's, by --recipe nnunet" for key in recipe}
    if plan.labels.activation == "sigmoid" and plan.labels.ignore is not None:
        recipe["cross_entropy_weight"] = float(len(plan.labels.names))
        reasons["training.cross_entropy_weight"] = "nnU-Net adds regions up where labels are ignored"
    for key in _MACHINE_KEYS:
        recipe[key] = getattr(plan.training, key)
        reasons.pop(f"training.{key}", None)
    return plan.model_copy(update={"training": Training.model_validate(recipe), "reasons": reasons})


def load_plan_to_train(path: Path, overrides: list[str], recipe: str | None = None) -> Plan:
    """Return the plan in a file, with a recipe if one is asked for, and then with the user's overrides.

    Args:
        path: the plan file.
        overrides: `dotted.key=value` strings.
        recipe: `nnunet`, or None for the plan's own way of training.

    Raises:
        PlanError: as `load_plan`; or there is no such recipe.
    """
    if recipe is None:
        return load_plan(path, overrides)
    if recipe != "nnunet":
        raise PlanError(
            f"There is no recipe {recipe!r}.", "The only recipe is nnunet; without --recipe, training follows the plan."
        )
    return parse_plan(dump_plan(with_nnunet_recipe(load_plan(path))), str(path), overrides)
