"""Translate the network of an nnU-Net configuration to the plan's network section, and back.

Plans since v2.3 describe it in a block `architecture`; older ones by keys such as `conv_kernel_sizes`, whose
meaning is that of nnU-Net's own conversion (`plans_handler.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.core.errors import ModelError
from medseg.plans.schema import Network

_CLASSES = {"PlainConvUNet": "plain_unet", "ResidualEncoderUNet": "residual_unet"}
_HOME = "dynamic_network_architectures.architectures.unet"
_MOST_STAGES = 20
_BLOCKS = {"plain_unet": "n_conv_per_stage", "residual_unet": "n_blocks_per_stage"}
OLD_KEYS = (
    "UNet_class_name",
    "UNet_base_num_features",
    "unet_max_num_features",
    "conv_kernel_sizes",
    "pool_op_kernel_sizes",
    "num_pool_per_axis",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
)
"""How plans before v2.3 describe a network."""


def network_section(architecture: Mapping[str, Any], dimensions: int, where: str) -> dict[str, Any]:
    """Return the plan's network section for a block `architecture`.

    Args:
        architecture: the architecture of the nnU-Net configuration.
        dimensions: 2 or 3.
        where: names the configuration in messages.

    Raises:
        ModelError: medseg does not have the network, or it is built in another way than by nnU-Net's planners.
        KeyError: something is missing.
    """
    kind = _kind(str(architecture["network_class_name"]), where)
    arguments = dict(architecture["arch_kwargs"])
    stages = int(arguments.pop("n_stages"))
    if not 1 < stages <= _MOST_STAGES:
        raise ModelError(f"{where}: the network has {stages} stages; expected 2 to {_MOST_STAGES}.")
    section = {
        "name": kind,
        "features": _each(arguments.pop("features_per_stage"), stages),
        "kernels": _axes(arguments.pop("kernel_sizes"), stages, dimensions),
        "strides": _axes(arguments.pop("strides"), stages, dimensions),
        "blocks": _each(arguments.pop(_BLOCKS[kind]), stages),
        "decoder_convolutions": _each(arguments.pop("n_conv_per_stage_decoder"), stages - 1),
        "bias": arguments.pop("conv_bias"),
    }
    for key, value in arguments.items():
        if not _usual(key, value, dimensions):
            raise ModelError(
                f"{where}: the network has {key}: {value!r}, which medseg's U-Nets do not have.",
                "They are built as nnU-Net's own planners ask for: instance normalization, leaky ReLU, no dropout.",
            )
    return section


def modern_architecture(old: Mapping[str, Any], dimensions: int, where: str) -> dict[str, Any]:
    """Return the block `architecture` that means the same as the keys of a plan before v2.3.

    Args:
        old: the configuration, with inherited keys filled in.
        dimensions: 2 or 3.
        where: names the configuration in messages.

    Raises:
        ModelError: medseg does not have the network.
        KeyError: something is missing.
    """
    name = str(old["UNet_class_name"])
    kind = _kind(f"{_HOME}.{name}", where)
    stages = len(old["n_conv_per_stage_encoder"])
    base, most = old["UNet_base_num_features"], old["unet_max_num_features"]
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
        "kernel_sizes": old["conv_kernel_sizes"],
        "strides": old["pool_op_kernel_sizes"],
        _BLOCKS[kind]: old["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": old["n_conv_per_stage_decoder"],
        "conv_bias": True,
        **_usual_arguments(dimensions),
    }
    return {"network_class_name": f"{_HOME}.{name}", "arch_kwargs": arguments}


def architecture_of(network: Network) -> dict[str, Any]:
    """Return the block `architecture` of a network section.

    Raises:
        ModelError: nnU-Net does not have the network.
    """
    class_names = {ours: f"{_HOME}.{name}" for name, ours in _CLASSES.items()}
    if network.name not in class_names:
        raise ModelError(
            f"The network {network.name!r} has no counterpart in nnU-Net; known are {', '.join(class_names)}."
        )
    arguments = {
        "n_stages": len(network.features),
        "features_per_stage": network.features,
        "kernel_sizes": network.kernels,
        "strides": network.strides,
        _BLOCKS[network.name]: network.blocks,
        "n_conv_per_stage_decoder": network.decoder_convolutions,
        "conv_bias": network.bias,
        **_usual_arguments(len(network.strides[0])),
    }
    imports = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    return {"network_class_name": class_names[network.name], "arch_kwargs": arguments, "_kw_requires_import": imports}


def _kind(class_name: str, where: str) -> str:
    name = class_name.rpartition(".")[2]
    if name not in _CLASSES or not class_name.startswith("dynamic_network_architectures."):
        raise ModelError(
            f"{where}: the network {class_name!r} has no counterpart in medseg; known are {', '.join(_CLASSES)}."
        )
    return _CLASSES[name]


def _usual_arguments(dimensions: int) -> dict[str, Any]:
    """Return the arguments that nnU-Net's planners always set, which is how medseg's U-Nets are built."""
    return {
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _usual(key: str, value: Any, dimensions: int) -> bool:
    """Return whether an argument means what `_usual_arguments` means, in any of the ways to write it."""
    usual = _usual_arguments(dimensions)
    match key:
        case "conv_op" | "norm_op" | "nonlin":
            return str(value).rpartition(".")[2] == usual[key].rpartition(".")[2]
        case "nonlin_kwargs":
            return {"negative_slope": 0.01, **(value or {}), "inplace": True} == {
                "negative_slope": 0.01,
                "inplace": True,
            }
        case "dropout_op_kwargs":
            return True  # without a dropout_op they have no meaning
        case "deep_supervision":
            return True  # heads that only training uses
        case "nonlin_first" | "block" | "bottleneck_channels" | "stem_channels":
            return not value
    return key in usual and usual[key] == value


def _each(value: Any, stages: int) -> list[int]:
    """Return a number for each stage; a single one is for all stages."""
    return [value] * stages if isinstance(value, int) else list(value)


def _axes(value: Any, stages: int, dimensions: int) -> list[list[int]]:
    """Return a number for each stage and axis; a single one is for all axes, or for all stages."""
    return [[sizes] * dimensions if isinstance(sizes, int) else list(sizes) for sizes in _each(value, stages)]
