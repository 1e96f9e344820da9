"""Small valid plans, cases and volumes that tests start from; every builder takes what a test wants to differ."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from paths import GOLDENS

from medseg.core.case import Case
from medseg.core.image import Image
from medseg.models.nnunet.plans import plan_from_nnunet
from medseg.plans.file import validate_plan
from medseg.plans.schema import Configuration, Network, Plan
from medseg.plans.sections.augmentation import Augmentation
from medseg.plans.sections.training import Training
from medseg.preprocessing.cache import Sample

NNUNET = GOLDENS / "nnunet"
OBLIQUE = np.array([[0.0, -0.8, 0.1, 12.0], [0.9, 0.0, 0.0, -7.5], [0.0, 0.08, 3.0, 40.0], [0, 0, 0, 1]])
"""An affine of a rotated and slightly sheared grid."""

NO_AUGMENTATION = {
    "rotation_probability": 0.0,
    "scaling_probability": 0.0,
    "scaling_range": [0.7, 1.4],
    "noise_probability": 0.0,
    "noise_std": [0.0, 0.1],
    "blur_probability": 0.0,
    "blur_sigma_voxels": [0.5, 1.0],
    "brightness_probability": 0.0,
    "brightness_factor": [0.75, 1.25],
    "contrast_probability": 0.0,
    "contrast_factor": [0.75, 1.25],
    "low_resolution_probability": 0.0,
    "low_resolution_zoom": [0.5, 1.0],
    "gamma_probability": 0.0,
    "gamma_inverted_probability": 0.0,
    "gamma_range": [0.7, 1.5],
}
TRAINING = {
    "steps": 20,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "poly",
    "gradient_clip": 12.0,
    "foreground_fraction": 0.5,
    "deep_supervision": True,
    "dice_weight": 1.0,
    "cross_entropy_weight": 1.0,
    "average_weights": 0.0,
    "precision": "fp32",
    "validations": 1,
    "validation_cases": 1,
    "seed": 0,
    "augmentation": NO_AUGMENTATION,
}
INFERENCE = {
    "step_fraction": 0.5,
    "gaussian_sigma_fraction": 0.125,
    "mirror": False,
    "precision": "fp32",
    "tile_batch": 2,
}
RESAMPLE_IMAGE = {"order": 3, "order_across": 0, "separate_axis": None}
RESAMPLE_LINEAR = {"order": 1, "order_across": 0, "separate_axis": None}


def network_values(dimensions: int = 3, stages: int = 3, name: str = "plain_unet", **others: Any) -> dict[str, Any]:
    """A U-Net of a few features; strides of 2 and kernels of 3 unless told otherwise."""
    values = {
        "name": name,
        "features": [4 * 2**stage for stage in range(stages)],
        "kernels": [[3] * dimensions] * stages,
        "strides": [[1] * dimensions] + [[2] * dimensions] * (stages - 1),
        "blocks": [1] * stages,
        "decoder_convolutions": [1] * (stages - 1),
    }
    return {**values, **others}


def network_section(dimensions: int = 3, stages: int = 3, name: str = "plain_unet", **others: Any) -> Network:
    return Network.model_validate(network_values(dimensions, stages, name, **others))


def configuration_values(dimensions: int = 3, **others: Any) -> dict[str, Any]:
    values = {
        "spacing_mm": [1.0] * dimensions,
        "median_shape_voxels": [16.0] * dimensions,
        "patch_voxels": [16] * dimensions,
        "batch_size": 2,
        "batch_dice": False,
        "normalization": [{"scheme": "zscore"}],
        "resample_image": RESAMPLE_IMAGE,
        "resample_label": RESAMPLE_LINEAR,
        "resample_logits": RESAMPLE_LINEAR,
        "rotation_degrees": [180.0] if dimensions == 2 else [30.0, 30.0, 30.0],
        "in_plane_only": dimensions == 2,
        "mirror_axes": list(range(dimensions)),
        "network": network_values(dimensions),
    }
    return {**values, **others}


def make_configuration(dimensions: int = 3, **others: Any) -> Configuration:
    return Configuration.model_validate(configuration_values(dimensions, **others))


def make_augmentation(**others: Any) -> Augmentation:
    """Nothing is changed, unless told otherwise."""
    return Augmentation.model_validate({**NO_AUGMENTATION, **others})


def make_training(**others: Any) -> Training:
    return Training.model_validate({**TRAINING, **others})


def plan_values(dimensions: int = 3, **others: Any) -> dict[str, Any]:
    """The plain values of a plan with one configuration, `main`."""
    values = {
        "schema_version": 1,
        "name": "toy",
        "made_by": "a test",
        "request": {"planner": "default", "memory_gb": None, "preset": "cpu", "options": {}},
        "data": {
            "folder": "data",
            "layout": "pairs",
            "dimensions": dimensions,
            "channels": ["MRI"],
            "cases": 4,
            "patient_pattern": None,
            "spacing_known": True,
            "intensities": [],
            "structure_cases": {"one": 4, "two": 4},
            "structure_volume": {"one": 0.1, "two": 0.2},
        },
        "labels": {"structures": {"one": 1, "two": 2}},
        "orientation": "stored",
        "transpose_forward": [0, 1, 2],
        "default_configuration": "main",
        "configurations": {"main": configuration_values(dimensions)},
        "training": deepcopy(TRAINING),
        "inference": deepcopy(INFERENCE),
    }
    return {**values, **others}


def make_plan(dimensions: int = 3, configuration: dict[str, Any] | None = None, **others: Any) -> Plan:
    """A plan; `configuration` are values of its configuration `main` that differ."""
    main = configuration_values(dimensions, **(configuration or {}))
    return validate_plan(plan_values(dimensions, configurations={"main": main}, **others), {}, "a test's plan")


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder of answers, less when and in how many seconds they were made."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    if "predict.jsonl" in found:
        found["predict.jsonl"] = re.sub(rb'"(ended|seconds)": ("[^"]*"|[\d.]+)', b"", found["predict.jsonl"])
    return found


def make_image(array: NDArray, spacing_zyx: Sequence[float] = (1.0, 1.0, 1.0)) -> Image:
    """(z, y, x) intensities as an image whose axes run to S, A and R."""
    z, y, x = spacing_zyx
    return Image(array[None], np.diag([x, y, z, 1.0]))


def make_sample(image: NDArray, label: NDArray, structures: int = 2, weight: float = 1.0, name: str = "case") -> Sample:
    """A preprocessed case from (z, y, x) arrays, with every voxel of each structure to centre on."""
    places = tuple(torch.from_numpy(np.flatnonzero(label == number)) for number in range(1, structures + 1))
    case = Case(name, name, (Path(name),), weight=weight)
    image = np.ascontiguousarray(image, dtype=np.float32)
    label = np.ascontiguousarray(label, dtype=np.int16)
    return Sample(
        case, torch.from_numpy(image)[None], torch.from_numpy(label), places, torch.empty(0, dtype=torch.int64)
    )


def golden_plan(model: str) -> Plan:
    """The plan of one of nnU-Net's golden models."""
    folder = NNUNET / model / "model"
    return plan_from_nnunet(*(json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json")))
