"""Every row of the table of networks in a few features, for tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import make_configuration, make_plan, network_values
from encoder_library import require_encoders

from medseg.models.model import make_network
from medseg.networks.encoders.rows import ENCODER_ROWS
from medseg.networks.row import NetworkRow
from medseg.networks.table import BUILT_IN, NETWORKS, build_network
from medseg.plans.network_rules import patch_rule
from medseg.plans.schema import Configuration, Plan

ARGUMENTS: dict[str, dict[str, Any]] = {
    "cenet": {"features": [4, 4, 8, 8]},
    "erfnet": {"features": [4, 6, 8]},
    "segnet": {"features": [4, 4, 8, 8, 8]},
    "segresnet": {"blocks_down": [1, 1], "blocks_up": [1]},
    "segresnet_ds": {"blocks_down": [1, 1, 1]},
    "swin_unetr": {"depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "unetr": {"hidden_size": 12, "mlp_dim": 12, "num_heads": 2},
    "mednext": {"blocks_down": [1, 1], "blocks_bottleneck": 1, "blocks_up": [1, 1], "kernel_size": 3},
    "highresnet": {
        "layer_params": [
            {"name": "conv_0", "n_features": 4, "kernel_size": 3},
            {"name": "res_1", "n_features": 4, "kernels": [3, 3], "repeat": 1},
            {"name": "conv_1", "n_features": 4, "kernel_size": 1},
            {"name": "conv_2", "kernel_size": 1},
        ]
    },
    **{name: {"decoder_channels": [16, 8, 8, 4, 4]} for name in ("smp_unet", "smp_unetplusplus", "manet")},
    "deeplabv3": {"decoder_channels": 8},
    "deeplabv3plus": {"decoder_channels": 8},
    "upernet": {"decoder_channels": 8},
    "pan": {"decoder_channels": 8},
    "segformer": {"decoder_segmentation_channels": 8},
    "pspnet": {"psp_out_channels": 8, "encoder_depth": 5},  # at its 3, half of the encoder is not used
    "fpn": {"decoder_pyramid_channels": 8, "decoder_segmentation_channels": 64},  # in 32 groups, each of 2
    "flexible_unet": {"decoder_channels": [16, 8, 8, 4, 4]},
}
"""What makes a network small beyond the plan's features, which `tiny` gives to all."""
WIDER: dict[str, dict[str, Any]] = {"cenet": {"features": [16, 16, 32, 32]}}
"""Arguments in place of `ARGUMENTS` to know patches by heart: CE-Net's finest features lie at a quarter of the grid."""
LARGE = {"mednext_small", "mednext_base", "mednext_medium", "mednext_large"}
"""Networks of a fixed width of which a smaller one is a row, too: MONAI's parameters, nothing of medseg's own."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "basic_unet_interpolation": ("basic_unet", {"upsampling": "interpolation"}),
    "plain_unet_interpolation": ("plain_unet", {"upsampling": "interpolation"}),
    "segresnet_transposed": ("segresnet", {"upsampling": "transposed", "arguments": ARGUMENTS["segresnet"]}),
    "erfnet_encoder": ("erfnet", {"arguments": {"features": [4, 6, 8], "encoder_only": True}}),
}
"""Other forms of a row: a name for tests -> the row's name, and what differs in the plan's section `network`."""
PATCH = {2: 32, 3: 16}
"""Number of axes -> length of a patch along each, where the network takes it."""
NAMES = [*sorted((BUILT_IN & NETWORKS.keys()) - LARGE - ENCODER_ROWS.keys()), *sorted(VARIANTS), *ENCODER_ROWS]
"""Every row and variant; those on pretrained encoders are skipped where their library is not installed."""


def row_of(name: str) -> NetworkRow:
    """Return the row of one of `NAMES`."""
    return NETWORKS[VARIANTS[name][0] if name in VARIANTS else name]


def tiny(name: str, dimensions: int, stages: int = 4) -> Configuration:
    """Return a configuration of a tiny network, with the valid patch that is nearest to `PATCH` along each axis."""
    if name in ENCODER_ROWS:
        require_encoders()
    arguments = {"arguments": ARGUMENTS[name]} if name in ARGUMENTS else {}
    row, others = VARIANTS.get(name, (name, arguments))
    values = {"network": network_values(dimensions, stages, row, **others), "batch_size": 2}
    loose = make_configuration(dimensions, **values, patch_voxels=[2**8] * dimensions)
    return make_configuration(
        dimensions, **values, patch_voxels=patch_rule(loose).nearest([PATCH[dimensions]] * dimensions)
    )


def rows(dimensions: int, slow: bool = False) -> Any:
    """Every network that takes such images, as parameters of a test; `slow` marks them all, and 3D is always slow."""
    marks = [pytest.mark.slow] if slow or dimensions == 3 else []
    return [pytest.param(name, dimensions, marks=marks) for name in NAMES if dimensions in row_of(name).dimensions]


def plan_of(name: str, dimensions: int) -> Plan:
    """A plan with two structures and one channel whose network is tiny."""
    return make_plan(dimensions, tiny(name, dimensions).model_dump(mode="json"))


def by_heart_plan(name: str, dimensions: int) -> Plan:
    """The same with features enough to know patches by heart (`WIDER`)."""
    configuration = tiny(name, dimensions).model_dump(mode="json")
    if name in WIDER:
        configuration["network"]["arguments"] = WIDER[name]
    return make_plan(dimensions, configuration)


def some_network(plan: Plan) -> Any:
    """An untrained network of the plan whose answer depends on every part of it."""
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main"))
    with torch.no_grad():  # residual blocks and heads may begin with zeros
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return network


def build(dimensions: int, patch: list[int], channels: int = 2, **network: Any) -> Any:
    """Return a network with three outputs for values of the plan's section `network`."""
    configuration = make_configuration(dimensions, patch_voxels=patch, network=network)
    torch.manual_seed(0)
    return build_network(configuration, channels, 3)
