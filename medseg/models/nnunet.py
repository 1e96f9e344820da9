"""nnU-Net v2's plans.json and dataset.json to a plan, and back, without loss.

What an nnU-Net plan says that has no meaning here (class names, identifiers) is kept in `Plan.nnunet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from medseg import __version__
from medseg.errors import ModelError
from medseg.io.dataset_json import declared_channels, declared_labels
from medseg.plan_file import validate_plan
from medseg.planning.recipe import inference_recipe, rotation_limits, training_recipe
from medseg.schema import Network, Normalization, Plan, Resampling

_SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale_0_1",
    "RGBTo01Normalization": "rgb_0_1",
    "NoNormalization": "none",
}
_ARCHITECTURES = {
    "dynamic_network_architectures.architectures.unet.PlainConvUNet": "plain_unet",
    "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet": "residual_unet",
}
_BLOCKS = {"plain_unet": "n_conv_per_stage", "residual_unet": "n_blocks_per_stage"}
_RESAMPLING = {"resample_image": "data", "resample_label": "seg", "resample_logits": "probabilities"}
_PLANS_NAME = "medsegPlans"
_RESAMPLE = "resample_data_or_seg_to_shape"
_PICTURES = "NaturalImage2DIO"  # nnU-Net's reader of formats that store no spacing
_DATASET_KEYS = ("channel_names", "modality", "labels", "regions_class_order", "numTraining")
_PLAIN_KEYS = {
    "spacing": "spacing_mm",
    "median_image_size_in_voxels": "median_shape_voxels",
    "patch_size": "patch_voxels",
    "batch_size": "batch_size",
    "batch_dice": "batch_dice",
    "previous_stage": "previous_stage",
}


def plan_from_nnunet(plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> Plan:
    """The plan that an nnU-Net v2 plans.json and dataset.json amount to; axes stay as the files store them.

    Raises:
        ModelError: something is missing in plans.json, or has no counterpart here; the message names it.
        DataError: dataset.json does not declare channels or labels.
    """
    with _complete("The nnU-Net plan"):
        values = _plan_values(plans, dataset)
    return validate_plan(values, {}, "the nnU-Net plan")


def _plan_values(plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    left = deepcopy(dict(plans))
    configurations, rest = {}, {}
    for name, values in left.pop("configurations").items():
        with _complete(f"The configuration {name} of the nnU-Net plan"):
            configurations[name], rest[name] = _configuration(dict(values), name)
    intensities = left.pop("foreground_intensity_properties_per_channel")
    flat = list(configurations) == ["2d"] and left["original_median_shape_after_transp"][0] == 1
    training, _ = training_recipe("gpu", 3)
    return {
        "name": str(left.pop("dataset_name")),
        "made_by": f"medseg {__version__}, from nnU-Net v2 plans",
        "request": {"planner": "default", "memory_gb": None, "preset": "gpu"},
        "data": {
            "folder": ".",
            "layout": "nnunet",
            "dimensions": 2 if flat else 3,
            "channels": list(declared_channels(dataset, "the nnU-Net dataset.json")),
            "cases": dataset.get("numTraining", 0),
            "patient_pattern": None,
            "spacing_known": left.get("image_reader_writer") != _PICTURES,
            "intensities": [dict(intensities[str(number)]) for number in range(len(intensities))],
            "structure_cases": {},
            "structure_volume": {},
        },
        "labels": declared_labels(dataset, "the nnU-Net dataset.json").model_dump(),
        "orientation": "stored",
        "transpose_forward": left.pop("transpose_forward"),
        "default_configuration": "3d_fullres" if "3d_fullres" in configurations else next(iter(configurations)),
        "configurations": configurations,
        "training": training,
        "inference": inference_recipe(),
        "nnunet": {
            "plans": left,
            "configurations": rest,
            "dataset": {key: value for key, value in dataset.items() if key not in _DATASET_KEYS},
        },
    }


def plan_to_nnunet(plan: Plan) -> dict[str, Any]:
    """The plans.json of a plan; what it kept of the nnU-Net plan that it came from stands in it again.

    Raises:
        ModelError: a network is none of nnU-Net's.
    """
    kept = plan.nnunet
    configurations = {}
    for name, own in plan.configurations.items():
        identity = (
            {}
            if "inherits" in own
            else {"data_identifier": f"{_PLANS_NAME}_{name}", "preprocessor_name": "DefaultPreprocessor"}
        )
        kept_here = kept.get("configurations", {}).get(name)
        configurations[name] = {**_to_nnunet(own), **(identity if kept_here is None else deepcopy(kept_here))}
    order = plan.transpose_forward
    intensities = {str(number): one.model_dump() for number, one in enumerate(plan.data.intensities)}
    finest = plan.configuration(plan.default_configuration)
    missing = [1.0] * (3 - finest.dimensions)
    usual = {
        "plans_name": _PLANS_NAME,
        "original_median_spacing_after_transp": [*missing, *finest.spacing_mm],
        "original_median_shape_after_transp": [*missing, *finest.median_shape_voxels],
        "image_reader_writer": "SimpleITKIO" if plan.data.spacing_known else _PICTURES,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
    }
    return {
        **({} if "plans" in kept else usual),
        "dataset_name": plan.name,
        "transpose_forward": order,
        "transpose_backward": [order.index(axis) for axis in range(len(order))],
        "configurations": configurations,
        "foreground_intensity_properties_per_channel": intensities,
        **deepcopy(kept.get("plans", {})),
    }


def _configuration(left: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One configuration in our form, and what has no meaning here."""
    values = {ours: left.pop(theirs) for theirs, ours in _PLAIN_KEYS.items() if theirs in left}
    if "inherits_from" in left:
        values["inherits"] = left.pop("inherits_from")
    if "normalization_schemes" in left:
        schemes, masks = left.pop("normalization_schemes"), left.pop("use_mask_for_norm")
        values["normalization"] = [
            {"scheme": _known(_SCHEMES, scheme, f"Configuration {name}: the normalization"), "nonzero_only": bool(mask)}
            for scheme, mask in zip(schemes, masks, strict=True)
        ]
    for ours, theirs in _RESAMPLING.items():
        if f"resampling_fn_{theirs}" in left:
            function, how = left.pop(f"resampling_fn_{theirs}"), left.pop(f"resampling_fn_{theirs}_kwargs")
            _known({_RESAMPLE: ""}, function, f"Configuration {name}: the resampling")
            values[ours] = {
                "order": how["order"],
                "order_across": how["order_z"],
                "separate_axis": how["force_separate_z"],
            }
    if "architecture" in left:
        values["network"] = _network(left.pop("architecture"), name)
    if "patch_voxels" in values:
        patch = values["patch_voxels"]
        values["rotation_degrees"], values["in_plane_only"], _ = rotation_limits(patch)
        values["mirror_axes"] = list(range(len(patch)))
    return values, left


def _network(architecture: Mapping[str, Any], name: str) -> dict[str, Any]:
    kind = _known(_ARCHITECTURES, architecture["network_class_name"], f"Configuration {name}: the network")
    arguments = dict(architecture["arch_kwargs"])
    features = arguments.pop("features_per_stage")
    arguments.pop("n_stages")
    network = {
        "name": kind,
        "features": features,
        "kernels": arguments.pop("kernel_sizes"),
        "strides": arguments.pop("strides"),
        "blocks": arguments.pop(_BLOCKS[kind]),
        "decoder_convolutions": arguments.pop("n_conv_per_stage_decoder"),
        "bias": arguments.pop("conv_bias"),
    }
    usual = _usual_arguments(len(network["strides"][0]))
    unusual = {key: value for key, value in arguments.items() if key not in usual or usual[key] != value}
    return {**network, "arguments": unusual}


def _to_nnunet(own: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of ours, inherited keys not filled in, in nnU-Net's form."""
    values = {theirs: own[ours] for theirs, ours in _PLAIN_KEYS.items() if own.get(ours) is not None}
    if "inherits" in own:
        values["inherits_from"] = own["inherits"]
    if "normalization" in own:
        theirs_of = {ours: theirs for theirs, ours in _SCHEMES.items()}
        channels = [Normalization.model_validate(how) for how in own["normalization"]]
        values["normalization_schemes"] = [theirs_of[how.scheme] for how in channels]
        values["use_mask_for_norm"] = [how.nonzero_only for how in channels]
    for ours, theirs in _RESAMPLING.items():
        if ours in own:
            how = Resampling.model_validate(own[ours])
            values[f"resampling_fn_{theirs}"] = _RESAMPLE
            values[f"resampling_fn_{theirs}_kwargs"] = {
                "is_seg": theirs == "seg",
                "order": how.order,
                "order_z": how.order_across,
                "force_separate_z": how.separate_axis,
            }
    if "network" in own:
        values["architecture"] = _architecture(Network.model_validate(own["network"]))
    return values


def _architecture(network: Network) -> dict[str, Any]:
    theirs_of = {ours: theirs for theirs, ours in _ARCHITECTURES.items()}
    class_name = _known(theirs_of, network.name, "The network", "nnU-Net")
    arguments = {
        "n_stages": len(network.features),
        "features_per_stage": network.features,
        "kernel_sizes": network.kernels,
        "strides": network.strides,
        _BLOCKS[network.name]: network.blocks,
        "n_conv_per_stage_decoder": network.decoder_convolutions,
        "conv_bias": network.bias,
        **_usual_arguments(len(network.strides[0])),
        **network.arguments,
    }
    imports = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    return {"network_class_name": class_name, "arch_kwargs": arguments, "_kw_requires_import": imports}


def _usual_arguments(dimensions: int) -> dict[str, Any]:
    """What nnU-Net's planners always ask for, and medseg's U-Nets always are."""
    return {
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _known(table: Mapping[str, str], name: str, what: str, where: str = "medseg") -> str:
    if name not in table:
        raise ModelError(f"{what} {name!r} has no counterpart in {where}; known are {', '.join(table)}.")
    return table[name]


@contextmanager
def _complete(what: str) -> Iterator[None]:
    """Make a key that is missing an error that names it."""
    try:
        yield
    except KeyError as error:
        raise ModelError(f"{what} has no key {error}.", "Expected plans.json as nnU-Net v2 writes it.") from None
