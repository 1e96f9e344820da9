"""The arguments of MONAI's networks that follow from a plan: stages, strides, kernels, widths, spacing.

Each function takes a configuration and the plan's `network.arguments`, and returns arguments that stand where the plan
has none of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod
from typing import Any

from medseg.core.errors import PlanError
from medseg.plans.network_rules import UPSAMPLING_ARGUMENTS
from medseg.plans.schema import Configuration

Fill = Callable[[Configuration, dict[str, Any]], dict[str, Any]]
"""(configuration, the plan's arguments) -> the arguments that the configuration fills."""


def _stages(configuration: Configuration) -> tuple[list[int], list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return features, strides and kernels of the plan's stages; of nnU-Net's kind if the plan has none.

    Raises:
        PlanError: the plan has none, and the patch cannot be halved.
    """
    network, dimensions = configuration.network, configuration.dimensions
    if network.features and network.strides and network.kernels:
        return network.features, [tuple(row) for row in network.strides], [tuple(row) for row in network.kernels]
    sizes, strides = list(configuration.patch_voxels), [(1,) * dimensions]
    while len(strides) < 5:
        step = tuple(2 if size % 2 == 0 and size >= 8 else 1 for size in sizes)
        if prod(step) == 1:
            break
        strides.append(step)
        sizes = [size // factor for size, factor in zip(sizes, step, strict=True)]
    if len(strides) < 3:
        raise PlanError(
            f"{network.name} needs stages, and the patch {configuration.patch_voxels} cannot be halved twice.",
            "Write network.features, network.strides and network.kernels, or choose a patch of multiples of 16.",
        )
    return [32 * 2**level for level in range(len(strides))], strides, [(3,) * dimensions] * len(strides)


def _width(configuration: Configuration, default: int) -> int:
    """Return the features of the plan's first stage."""
    return configuration.network.features[0] if configuration.network.features else default


def fill_encoder_decoder(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return channels and strides of `AttentionUnet` and `UNet`: those of the plan's stages.

    Raises:
        PlanError: channels and strides of the plan's arguments do not fit each other.
    """
    features, strides, _ = _stages(configuration)
    channels, steps = arguments.get("channels", features), arguments.get("strides", strides[1:])
    if len(channels) != len(steps) + 1:
        raise PlanError(
            f"network.arguments do not fit {configuration.network.name}: channels has {len(channels)} entries and "
            f"strides {len(steps)}; expected one stride less than channels.",
            f"network.arguments is {arguments}; what it leaves out comes from network.features and network.strides.",
        )
    return {"channels": channels, "strides": steps}


def fill_dynunet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return stages and deep supervision of `DynUNet`: one answer for each decoder level but the coarsest."""
    features, strides, kernels = _stages(configuration)
    strides = arguments.get("strides", strides)
    supervised = len(strides) - 2  # the coarsest decoder level is not, as in nnU-Net
    return {
        "filters": features,
        "strides": strides,
        "kernel_size": kernels,
        "upsample_kernel_size": strides[1:],
        "deep_supervision": supervised > 1,
        "deep_supr_num": max(1, supervised - 1),
    }


def fill_basic_unet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the six widths of `BasicUNet`; MONAI's own (32, 32, 64, 128, 256, 32), scaled to the plan's width."""
    width = _width(configuration, 32)
    return {"features": [width, width, 2 * width, 4 * width, 8 * width, width]}


def fill_basic_unet_plus_plus(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the widths of `BasicUNetPlusPlus`, which can always be supervised deeply."""
    return fill_basic_unet(configuration, arguments) | {"deep_supervision": True}


def fill_segresnet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the width of `SegResNet`, and groups of its normalization that divide it."""
    width = arguments.get("init_filters", _width(configuration, 8))
    groups = gcd(8, width) if isinstance(width, int) else 8  # MONAI's 8 groups, or as many as divide the width
    return {"init_filters": width, "norm": ("GROUP", {"num_groups": groups})}


def fill_segresnet_ds(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return width, number of answers and spacing of `SegResNetDS`, whose strides follow from the spacing."""
    blocks = arguments.get("blocks_down", (1, 2, 2, 4))
    return {
        "init_filters": _width(configuration, 32),
        "blocks_down": blocks,
        "dsdepth": max(1, len(blocks) - 1),
        "resolution": tuple(configuration.spacing_mm),
    }


def fill_swin_unetr(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the width of `SwinUNETR`: the plan's, down to a multiple of 12."""
    return {"feature_size": max(12, _width(configuration, 24) // 12 * 12)}  # must be a multiple of 12


def fill_unetr(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the width of `UNETR`."""
    return {"feature_size": _width(configuration, 16)}


def fill_vnet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the dimensions of the dropout of `VNet`, which does not take them from `spatial_dims`."""
    return {"dropout_dim": configuration.dimensions}


def fill_mednext(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the width of `MedNeXt`, which can always be supervised deeply."""
    return {"init_filters": _width(configuration, 32), "deep_supervision": True}


def fill_flexible_unet(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the encoder of `FlexibleUNet`, which has no default."""
    return {"backbone": "efficientnet-b0"}


def fill_upsampling(configuration: Configuration) -> dict[str, Any]:
    """Return how a network comes to a finer grid, if it has the choice and the plan makes it."""
    network = configuration.network
    if network.upsampling is None:
        return {}
    return {UPSAMPLING_ARGUMENTS[network.name]: "deconv" if network.upsampling == "transposed" else "nontrainable"}


def fill_nothing(configuration: Configuration, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return no arguments: the plan fills none."""
    return {}
