"""nnU-Net's model folders, small, in its own form: plans.json, dataset.json, checkpoints as its trainer saves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.models.model import make_network
from medseg.models.nnunet.plans import plan_from_nnunet
from medseg.models.nnunet.weights import weights_to_nnunet

ONE_CHANNEL = {"mean": 1.0, "median": 1.0, "std": 2.0, "min": 0.0, "max": 9.0}
ONE_CHANNEL |= {"percentile_00_5": 0.5, "percentile_99_5": 8.0}
_HOME = "dynamic_network_architectures.architectures.unet"
_IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]
TRAINER = "nnUNetTrainer__nnUNetPlans"


def architecture(dimensions: int = 3, residual: bool = False, **others: Any) -> dict[str, Any]:
    """A network of three stages."""
    kind = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    arguments = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "kernel_sizes": [[3] * dimensions] * 3,
        "strides": [[1] * dimensions, [2] * dimensions, [2] * dimensions],
        "n_blocks_per_stage" if residual else "n_conv_per_stage": [1, 2, 2],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    arguments |= others
    return {"network_class_name": f"{_HOME}.{kind}", "arch_kwargs": arguments, "_kw_requires_import": _IMPORTED}


def configuration(dimensions: int = 3, **others: Any) -> dict[str, Any]:
    """One configuration of a plans.json."""
    values: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_main",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16] * dimensions,
        "median_image_size_in_voxels": [16.0] * dimensions,
        "spacing": [1.0] * dimensions,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture(dimensions),
        "batch_dice": False,
    }
    for role, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        how = {"is_seg": role == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        values |= {f"resampling_fn_{role}": "resample_data_or_seg_to_shape", f"resampling_fn_{role}_kwargs": how}
    return {**values, **others}


def plans(configurations: Mapping[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """A plans.json with one configuration, 3d_fullres, unless told otherwise."""
    return {
        "dataset_name": "Dataset001_Toy",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [16, 16, 16],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": dict(configurations or {"3d_fullres": configuration()}),
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": ONE_CHANNEL},
        **others,
    }


def dataset(**others: Any) -> dict[str, Any]:
    """A dataset.json with two structures."""
    labels = {"background": 0, "one": 1, "two": 2}
    return {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz", **others}


def write_model(
    results: Path,
    name: str = "3d_fullres",
    plan: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    folds: Sequence[str] = ("0",),
    **others: Any,
) -> Path:
    """A model folder in a data set's results folder; `others` are for `checkpoint`. Fold k has weights of seed k."""
    plan, data = plan or plans(), data or dataset()
    folder = results / f"{TRAINER}__{name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(data))
    for number, fold in enumerate(folds):
        fold_folder = folder / f"fold_{fold}"
        fold_folder.mkdir(exist_ok=True)
        torch.save(checkpoint(name, plan, data, number, **others), fold_folder / "checkpoint_final.pth")
    return folder


def checkpoint(
    name: str, plan: Mapping[str, Any], data: Mapping[str, Any], seed: int = 0, **others: Any
) -> dict[str, Any]:
    """What nnU-Net's trainer saves: the network's weights, the optimizer's, and a record with numpy's numbers."""
    return {
        "network_weights": weights_to_nnunet(ours(name, plan, data, seed).state_dict(), _strides(name, plan)),
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "dice": [[np.float32(0.5), np.float64(0.4)]], "lrs": [0.01]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1,
        "init_args": {"configuration": name, "fold": 0, "plans": dict(plan), "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        **others,
    }


def ours(name: str, plan: Mapping[str, Any], data: Mapping[str, Any], seed: int = 0) -> torch.nn.Module:
    """Our own network of such a model, its weights drawn with this seed."""
    torch.manual_seed(seed)
    converted = plan_from_nnunet(plan, data, only=name)
    return make_network(converted, converted.configuration(name)).eval()


def _strides(name: str, plan: Mapping[str, Any]) -> list[list[int]]:
    return plan_from_nnunet(plan, dataset(), only=name).configuration(name).network.strides
