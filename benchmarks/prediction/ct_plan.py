"""The plan of a made-up CT model, for benchmarks: CT normalization, cubic resampling, nnU-Net's defaults elsewhere."""

from __future__ import annotations

from typing import Any

from medseg.planning.recipe import training_recipe
from medseg.plans.file import validate_plan
from medseg.plans.schema import Plan

NAME = "3d_fullres"
INTENSITY = {
    "mean": 40.0,
    "median": 40.0,
    "std": 130.0,
    "min": -1024.0,
    "max": 3071.0,
    "percentile_00_5": -800.0,
    "percentile_99_5": 300.0,
}


def network_values(features: list[int]) -> dict[str, Any]:
    """A plain U-Net of these widths: one convolution a stage, halved from stage to stage."""
    stages = len(features)
    return {
        "name": "plain_unet",
        "features": features,
        "kernels": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "blocks": [1] * stages,
        "decoder_convolutions": [1] * (stages - 1),
    }


def ct_plan(classes: int = 105, spacing_mm: float = 1.5, patch: int = 128, features: list[int] | None = None) -> Plan:
    """A plan of `classes` outputs, background among them."""
    names = [f"structure_{number}" for number in range(1, classes)]
    configuration = {
        "spacing_mm": [spacing_mm] * 3,
        "median_shape_voxels": [300.0, 273.0, 273.0],
        "patch_voxels": [patch] * 3,
        "batch_size": 2,
        "batch_dice": False,
        "normalization": [{"scheme": "ct"}],
        "resample_image": {"order": 3, "order_across": 0, "separate_axis": None},
        "resample_label": {"order": 1, "order_across": 0, "separate_axis": None},
        "resample_logits": {"order": 1, "order_across": 0, "separate_axis": None},
        "rotation_degrees": [30.0, 30.0, 30.0],
        "in_plane_only": False,
        "mirror_axes": [0, 1, 2],
        "network": network_values(features or [8, 16, 32]),
    }
    values = {
        "schema_version": 1,
        "name": "ct",
        "made_by": "a benchmark",
        "request": {"planner": "default", "memory_gb": None, "preset": "gpu", "options": {}},
        "data": {
            "folder": "data",
            "layout": "pairs",
            "dimensions": 3,
            "channels": ["CT"],
            "cases": 1,
            "patient_pattern": None,
            "spacing_known": True,
            "intensities": [INTENSITY],
            "structure_cases": dict.fromkeys(names, 1),
            "structure_volume": dict.fromkeys(names, 1.0),
        },
        "labels": {"structures": {name: number for number, name in enumerate(names, start=1)}},
        "orientation": "stored",
        "transpose_forward": [0, 1, 2],
        "default_configuration": NAME,
        "configurations": {NAME: configuration},
        "training": training_recipe("gpu", 3)[0],
        "inference": {
            "step_fraction": 0.5,
            "gaussian_sigma_fraction": 0.125,
            "mirror": False,
            "precision": "auto",
            "tile_batch": 1,
        },
    }
    return validate_plan(values, {}, "the benchmark's plan")
