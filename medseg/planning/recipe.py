"""How to train and predict: the presets `gpu` (nnU-Net's recipe) and `cpu` (most Dice per minute on a few cores)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NNUNET_EPOCH_STEPS = 250
NNUNET_STEPS = 1000 * NNUNET_EPOCH_STEPS
CPU_STEPS = 4000
CPU_MEMORY_GB = 2.0
CPU_WIDTH = 0.5
CPU_MOST_PATCHES = {2: 4, 3: 2}
"""Largest batch in 2D and 3D: in a short run more steps are worth more than larger batches."""
_DUMMY_2D_RATIO = 3
_SQUARE_RATIO = 1.5

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
"""nnU-Net v2, `nnUNetTrainer.get_training_transforms`."""


_STRONGER_2D: dict[str, Any] = {
    "rotation_probability": 0.6,
    "scaling_probability": 0.6,
    "brightness_probability": 0.3,
    "contrast_probability": 0.4,
    "gamma_probability": 0.5,
}
"""A short run sees each slice often, and slices of a few patients are alike: measured in docs/benchmarks.md."""


def training_recipe(preset: str, dimensions: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The training section of a plan for 2D images or 3D volumes, and the reasons for what is in it."""
    common = {
        "foreground_fraction": 0.33,
        "deep_supervision": True,
        "dice_weight": 1.0,
        "cross_entropy_weight": 1.0,
        "precision": "auto",
        "seed": 0,
    }
    if preset == "gpu":
        own = {
            "steps": NNUNET_STEPS,
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
        own = {
            "steps": CPU_STEPS,
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
            "optimizer": "reaches more Dice in a short run than AdamW, and that more than SGD (docs/benchmarks.md)",
            "average_weights": "their moving average is better while the learning rate is high (docs/benchmarks.md)",
        }
    augmentation, reasons["augmentation"] = dict(_AUGMENTATION), "nnU-Net's probabilities and ranges"
    if preset == "cpu" and dimensions == 2:
        augmentation |= _STRONGER_2D
        reasons["augmentation"] = "nnU-Net's ranges, more often: short runs on 2D images of few patients gain from it"
    return {**own, **common, "augmentation": augmentation}, {f"training.{key}": text for key, text in reasons.items()}


def inference_recipe() -> dict[str, Any]:
    """The inference section of a plan: nnU-Net's sliding window."""
    return {
        "step_fraction": 0.5,
        "gaussian_sigma_fraction": 0.125,
        "mirror": True,
        "precision": "auto",
        "tile_batch": "auto",
    }


def rotation_limits(patch_voxels: Sequence[int]) -> tuple[list[float], bool, str]:
    """(degrees about each axis, or one in the slice plane; in-plane only?; reason).

    Source: nnU-Net v2, `configure_rotation_dummyDA_mirroring_and_inital_patch_size`.
    """
    longest = max(patch_voxels)
    if len(patch_voxels) == 2:
        if longest / min(patch_voxels) > _SQUARE_RATIO:
            return [15.0], True, "the patch is long and narrow, so little rotation keeps its content inside"
        return [180.0], True, "the patch is nearly square, so it may be turned freely"
    if longest / patch_voxels[0] > _DUMMY_2D_RATIO:
        return [180.0], True, "slices are few and far apart: rotation and scaling stay in the slice plane"
    return [30.0, 30.0, 30.0], False, "nnU-Net's limit in 3D"
