"""From the network section of a plan to a torch module."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from medseg.core.errors import PlanError
from medseg.networks.unet import UNet
from medseg.plans.schema import UNETS, Network

MONAI_NETWORKS = {
    "segresnet": "SegResNet",
    "swin_unetr": "SwinUNETR",
    "unetr": "UNETR",
    "attention_unet": "AttentionUnet",
}


def build_network(network: Network, channels: int, outputs: int, dimensions: int) -> nn.Module:
    """A module that maps (batch, channel, ...) to a list of logits, the full resolution first.

    Raises:
        PlanError: the name is unknown, or its arguments do not fit.
    """
    if network.name in UNETS:
        return UNet(network, channels, outputs, residual=UNETS[network.name])
    if network.name in MONAI_NETWORKS:
        return _monai(network, channels, outputs, dimensions)
    raise PlanError(
        f"There is no network {network.name!r}; there are {', '.join([*UNETS, *MONAI_NETWORKS])}.",
        "Set network.name to one of these, or hand your own module in from Python.",
    )


def supervision_scales(network: Network, dimensions: int, enabled: bool) -> list[list[int]]:
    """How much coarser than the patch each output that the loss sees is, per axis, the full resolution first.

    nnU-Net gives the coarsest decoder level a weight of zero, so it is not computed at all.
    """
    levels = len(network.features) - 2
    if not enabled or network.name not in UNETS or levels < 2:
        return [[1] * dimensions]
    return [[prod(axis) for axis in zip(*network.strides[: level + 1], strict=True)] for level in range(levels)]


class _SingleOutput(nn.Module):
    """A network of another library, answering in the same form as ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [self.network(x)]


def _monai(network: Network, channels: int, outputs: int, dimensions: int) -> nn.Module:
    try:
        from monai.networks import nets
    except ImportError:
        raise PlanError(f"The network {network.name!r} is MONAI's.", "pip install 'medseg[networks]'") from None
    arguments = {"spatial_dims": dimensions, "in_channels": channels, "out_channels": outputs, **network.arguments}
    try:
        return _SingleOutput(getattr(nets, MONAI_NETWORKS[network.name])(**arguments))
    except ImportError as error:  # MONAI's own optional dependencies
        raise PlanError(f"{network.name} needs another package: {str(error).splitlines()[0]}") from None
    except (TypeError, ValueError) as error:
        raise PlanError(f"network.arguments do not fit {network.name}: {error}") from None
