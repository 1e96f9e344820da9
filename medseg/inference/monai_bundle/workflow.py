"""The workflow of a MONAI bundle around the network, in MONAI's own transforms: `inference.json`, `metadata.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.core.labels import Labels
from medseg.inference.monai_bundle.program import as_monai
from medseg.inference.tiles import gaussian_profile
from medseg.models.model import Model
from medseg.plans.schema import Configuration, Plan
from medseg.plans.sections.data import Intensity
from medseg.preprocessing.normalize import NORMALIZATIONS, Scaling
from medseg.preprocessing.resample import separate_axis

PROGRAM = "models/model.ts"
_NO_LIMIT = 1e30
_OVERLAP = (
    "$lambda shape: [0.0 if size <= tile else "
    "1 - (-(-(size - tile) // -(-(size - tile) // (tile * {step_fraction}))) + 0.5) / tile "
    "for size, tile in zip(shape, @tile)]"
)
"""Overlap along each axis with which MONAI takes as many tiles as medseg, evenly spread; 0.5 is cut off."""
_FIXED = (
    *("ct", "rgb_0_1", "rgb_minus1_1", "none"),
    *("imagenet_red", "imagenet_green", "imagenet_blue"),
)
"""Schemes whose numbers are the same for every scan."""
_OF_THE_SCAN = ("zscore", "rescale_0_1")
"""Schemes whose numbers are those of each scan: MONAI computes them for all channels or for none."""


def problem_of(model: Model) -> str | None:
    """Return why a model cannot be a bundle that answers as medseg does, as the end of a sentence; None if it can."""
    plan, configuration = model.plan, model.configuration
    schemes = {how.scheme for how in configuration.normalization}
    foreign = sorted(schemes - {*_FIXED, *_OF_THE_SCAN})
    from_elsewhere = plan.inference.spacing is not None or plan.data.spacing_rule != "files"
    reasons = {
        "it is a cascade, whose second network takes the labels of the first": model.previous is not None,
        "several configurations answer together": bool(model.others),
        f"it is of {configuration.dimensions} dimensions, and bundles are written of 3": configuration.dimensions != 3,
        f"the normalization {', '.join(foreign)} is none of medseg's own": bool(foreign),
        "MONAI has no normalization within the nonzero voxels alone": any(
            how.nonzero_only for how in configuration.normalization
        ),
        f"MONAI does not normalize some channels by {' and others by '.join(sorted(schemes))}": bool(
            schemes & {*_OF_THE_SCAN}
        )
        and len(schemes) > 1,
        "its grid has slices far apart, and MONAI does not resample them one by one": _is_anisotropic(configuration),
        "every voxel belongs to a structure, and a bundle answers background around the scan's content": (
            plan.labels.background is None
        ),
        "the plan takes the sizes of voxels from elsewhere than the files": from_elsewhere
        or not plan.data.spacing_known,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _is_anisotropic(configuration: Configuration) -> bool:
    """Return whether medseg always resamples slices one by one, on any grid of a scan."""
    spacing = configuration.spacing_mm
    return bool(separate_axis(spacing, spacing, configuration.resample_image.separate_axis) is not None)


def notes_on(left_out: Sequence[str] = ()) -> list[str]:
    """Return the differences between a bundle and `medseg predict`, in sentences.

    Args:
        left_out: those that the model has.
    """
    return [
        "scans on another grid than the network's are resampled by MONAI, whose splines differ at edges, and slices "
        "that are far apart are not resampled one by one",
        "where a scan is larger than a tile, tiles may lie a few voxels from medseg's: MONAI's steps are whole voxels",
        *left_out,
    ]


def workflow(model: Model) -> dict[str, Any]:
    """Return `inference.json`: what MONAI's bundle runner does with a folder of scans.

    Args:
        model: one of which `problem_of` says nothing.
    """
    plan, configuration = model.plan, model.configuration
    inference = plan.inference
    tile = as_monai(list(configuration.patch_voxels), plan.transpose_forward)
    return {
        "imports": ["$import glob", "$import os", "$import numpy as np", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "scans": _scans(len(plan.data.channels)),
        "network_def": {
            "_target_": "torch.jit.load",
            "f": f"$@bundle_root + '/{PROGRAM}'",
            "map_location": "@device",
        },
        "network": "$@network_def.eval()",
        "preprocessing": {"_target_": "Compose", "transforms": _before(plan, configuration)},
        "tile": tile,
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": "@tile",
            "sw_batch_size": 1,
            "overlap": 1 - inference.step_fraction,
            "mode": "gaussian",
            "sigma_scale": inference.gaussian_sigma_fraction,
            "sw_device": "@device",
            "device": "$torch.device('cpu')",
        },
        "profiles": [gaussian_profile(size, inference.gaussian_sigma_fraction).tolist() for size in tile],
        "weights": "$torch.einsum('x,y,z->xyz', *(torch.tensor(profile) for profile in @profiles)).float()",
        "overlap": _OVERLAP.format(step_fraction=inference.step_fraction),
        "postprocessing": {"_target_": "Compose", "transforms": _after(plan.labels)},
        "spread": "$lambda image: setattr(@inferer, 'overlap', @overlap(image.shape[2:]))",
        "logits": "$lambda image: (@spread(image), @inferer(image, @network))[1]",
        "segment": "$lambda scan: @postprocessing({**scan, 'pred': @logits(scan['input'][None])[0]})",
        "initialize": [
            "$os.makedirs(@output_dir, exist_ok=True)",
            "$setattr(@inferer, 'roi_weight_map', @weights)",
        ],
        "run": [
            "$torch.set_grad_enabled(False)",
            "$[print(@segment(@preprocessing(scan))['pred'].meta['filename_or_obj']) for scan in @scans]",
        ],
    }


def _scans(channels: int) -> str:
    """Return the expression for the scans of a folder: a file each, or as nnU-Net names several channels."""
    if channels == 1:
        return "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.nii.gz'))]"
    files = f"[path[:-11] + f'{{channel:04d}}.nii.gz' for channel in range({channels})]"
    return f"$[{{'image': {files}}} for path in sorted(glob.glob(@dataset_dir + '/*_0000.nii.gz'))]"


def _before(plan: Plan, configuration: Configuration) -> list[dict[str, Any]]:
    """Return the transforms of a scan, in nnU-Net's order: `image` is turned and cropped, `input` brought to the grid.

    Logits are resampled to the grid of `image`, and its transforms inverted: turning and cropping are exact.
    """
    image = {"keys": "image"}
    turned = [{"_target_": "Orientationd", **image, "axcodes": "RAS", "labels": None}]
    return [
        {
            "_target_": "LoadImaged",
            **image,
            "reader": "NibabelReader",
            "ensure_channel_first": True,
            "image_only": True,
        },
        *(turned if plan.orientation == "canonical" else []),
        {"_target_": "CropForegroundd", **image, "source_key": "image", "select_fn": "$lambda image: image != 0"},
        {"_target_": "CopyItemsd", **image, "names": "input"},
        *_intensities(plan, configuration),
        {
            "_target_": "Spacingd",
            "keys": "input",
            "pixdim": as_monai(list(configuration.spacing_mm), plan.transpose_forward),
            "mode": configuration.resample_image.order,
            "padding_mode": "nearest",
        },
    ]


def _intensities(plan: Plan, configuration: Configuration) -> list[dict[str, Any]]:
    """Return the transforms that normalize, channel by channel."""
    schemes = [how.scheme for how in configuration.normalization]
    if schemes[0] == "zscore":
        return [{"_target_": "NormalizeIntensityd", "keys": "input", "channel_wise": True}]
    if schemes[0] == "rescale_0_1":
        return [{"_target_": "ScaleIntensityd", "keys": "input", "minv": 0.0, "maxv": 1.0, "channel_wise": True}]
    statistics: list[Intensity | None] = [*plan.data.intensities] or [None] * len(schemes)
    nothing = np.zeros((1, 1, 1))
    scalings = [
        NORMALIZATIONS[scheme](nothing, statistic, None) for scheme, statistic in zip(schemes, statistics, strict=True)
    ]
    rows = [scaling for scaling in scalings if isinstance(scaling, Scaling)]  # all of them: `problem_of` has looked
    clip = []
    if any(row.limits for row in rows):
        limits = [row.limits or (-_NO_LIMIT, _NO_LIMIT) for row in rows]
        low, high = (f"torch.tensor({[pair[side] for pair in limits]})[:, None, None, None]" for side in (0, 1))
        clip = [{"_target_": "Lambdad", "keys": "input", "func": f"$lambda image: image.clamp({low}, {high})"}]
    numbers = {"subtrahend": [row.shift for row in rows], "divisor": [row.divisor for row in rows]}
    return [*clip, {"_target_": "NormalizeIntensityd", "keys": "input", **numbers, "channel_wise": True}]


def _after(labels: Labels) -> list[dict[str, Any]]:
    """Return the transforms of logits: to the grid of the scan, and only then to labels."""
    if labels.activation == "softmax":
        choice = "logits.argmax(0, keepdim=True)"
    else:  # the last region with a positive logit, as `Labels.choose` does
        choice = f"((logits > 0) * torch.arange(1, {labels.outputs + 1})[:, None, None, None]).amax(0, keepdim=True)"
    decide = f"$lambda logits: torch.tensor({list(labels.decisions)})[{choice}.long()]"
    return [
        {
            "_target_": "ResampleToMatchd",
            "keys": "pred",
            "key_dst": "image",
            "mode": "bilinear",
            "padding_mode": "border",
        },
        {"_target_": "Invertd", "keys": "pred", "orig_keys": "image", "transform": "@preprocessing"},
        {"_target_": "Lambdad", "keys": "pred", "func": decide},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "separate_folder": False,
            "resample": False,
            "output_dtype": f"$np.{np.dtype(labels.dtype).name}",
            "print_log": False,
        },
    ]
