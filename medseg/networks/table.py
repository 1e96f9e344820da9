"""The table of networks: the names that a configuration's `network.name` may have, and how each is made.

A new network is a file beside this one and a row here; docs/extend.md shows it as a diff. Whatever a network answers,
everything behind this module sees a module that maps (batch, channel, ...) to a list of logits, the full resolution
first, and that has `supervision_scales`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from medseg.core.errors import MedsegError, PlanError
from medseg.networks.device import first_line
from medseg.networks.unet import UNet
from medseg.plans.schema import UNETS, Configuration

NetworkFactory = Callable[[Configuration, int, int], nn.Module]
"""(configuration, input channels, outputs) -> module: a row of the table, or a caller's own for one run.

The module maps an image (batch, channel, ...) to logits (batch, outputs, ...) on the same grid. With deep supervision
it has a property `supervision_scales`, for each answer how much coarser than the image it is along each axis, the full
resolution (all 1) first; its `forward(x, levels=1)` answers a list of the first `levels` of them.
"""


@dataclass(frozen=True)
class NetworkRow:
    """A row of the table.

    Attributes:
        make: makes the module.
        dimensions: the dimensions of the images that it can take: 2, 3 or both.
    """

    make: NetworkFactory
    dimensions: tuple[int, ...] = (2, 3)


def _unet(configuration: Configuration, channels: int, outputs: int, *, residual: bool) -> nn.Module:
    return UNet(configuration.network, channels, outputs, residual)


def _monai(class_name: str, configuration: Configuration, channels: int, outputs: int) -> nn.Module:
    """Make a network of MONAI (docs.monai.io/en/stable/networks.html) with the plan's `network.arguments`."""
    from monai.networks import nets  # seconds; only a plan that names one of these networks needs it

    make = getattr(nets, class_name)
    settings: dict[str, Any] = {
        "spatial_dims": configuration.dimensions,
        "in_channels": channels,
        "out_channels": outputs,
    }
    if "img_size" in inspect.signature(make).parameters:  # of UNETR, whose position embedding has a fixed size
        settings["img_size"] = tuple(configuration.patch_voxels)
    module: nn.Module = make(**settings | configuration.network.arguments)
    return module


NETWORKS: dict[str, NetworkRow] = {
    **{name: NetworkRow(partial(_unet, residual=residual)) for name, residual in UNETS.items()},
    "segresnet": NetworkRow(partial(_monai, "SegResNet")),
    "swin_unetr": NetworkRow(partial(_monai, "SwinUNETR")),
    "unetr": NetworkRow(partial(_monai, "UNETR")),
    "attention_unet": NetworkRow(partial(_monai, "AttentionUnet")),
    "basic_unet": NetworkRow(partial(_monai, "BasicUNet")),
    "basic_unet_plus_plus": NetworkRow(partial(_monai, "BasicUNetPlusPlus")),
    "vnet": NetworkRow(partial(_monai, "VNet")),
    "mednext_small": NetworkRow(partial(_monai, "MedNeXtS")),
    "mednext_base": NetworkRow(partial(_monai, "MedNeXtB")),
    "mednext_medium": NetworkRow(partial(_monai, "MedNeXtM")),
    "mednext_large": NetworkRow(partial(_monai, "MedNeXtL")),
}
"""Name in the plan -> row. All but the U-Nets are MONAI's, with the `network.arguments` of their classes."""

BUILT_IN = frozenset(NETWORKS)
"""Names of the networks that come with medseg; `register_network` adds others."""


def register_network(name: str, make: NetworkFactory, dimensions: tuple[int, ...] = (2, 3)) -> None:
    """Let plans name a network of your own, as long as this Python process lasts.

    Args:
        name: what `network.name` in the plan says.
        make: makes the module; see `NetworkFactory`.
        dimensions: the dimensions of the images that it can take: 2, 3 or both.

    Raises:
        PlanError: the name is that of one of medseg's networks.
    """
    if name in BUILT_IN:
        raise PlanError(f"medseg has a network named {name!r}; choose another name.")
    NETWORKS[name] = NetworkRow(make, dimensions)


def find_network(configuration: Configuration) -> NetworkRow:
    """Return the row of the network that a configuration names.

    Raises:
        PlanError: there is no such network, or it does not take images of so many dimensions.
    """
    name, dimensions = configuration.network.name, configuration.dimensions
    if name not in NETWORKS:
        raise PlanError(
            f"There is no network {name!r}; there are {', '.join(NETWORKS)}.",
            "Set network.name of the configuration to one of these. A network of your own is registered from Python "
            f"first: medseg.register_network({name!r}, make). docs/extend.md shows how.",
        )
    row = NETWORKS[name]
    if dimensions not in row.dimensions:
        allowed = " or ".join(f"{number}D" for number in row.dimensions)
        raise PlanError(f"The network {name} takes {allowed} images, and the configuration is {dimensions}D.")
    return row


def build_network(
    configuration: Configuration, channels: int, outputs: int, factory: NetworkFactory | None = None
) -> nn.Module:
    """Return an untrained network that maps (batch, channel, ...) to a list of logits, the full resolution first.

    Args:
        configuration: names the network, with its arguments.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
        factory: makes the network instead of the one that the configuration names.

    Raises:
        PlanError: there is no such network, its arguments do not fit it, or it does not take such images.
    """
    if factory is not None:
        return _as_list(factory(configuration, channels, outputs), configuration.dimensions)
    row, name = find_network(configuration), configuration.network.name
    try:
        network = row.make(configuration, channels, outputs)
    except MedsegError:
        raise
    except ImportError as error:  # MONAI's own optional dependencies
        raise PlanError(
            f"{name} needs another package: {first_line(error)}", "pip install 'medseg[networks]' brings einops."
        ) from None
    except Exception as error:  # other libraries raise all kinds of errors for arguments that they cannot take
        raise PlanError(
            f"network.arguments do not fit {name}: {type(error).__name__}: {first_line(error)}",
            f"network.arguments is {configuration.network.arguments}.",
        ) from error
    return _as_list(network, configuration.dimensions)


def supervision_scales(network: nn.Module, dimensions: int, enabled: bool) -> Sequence[Sequence[int]]:
    """Return how much coarser than the patch each output that the loss sees is, per axis, the full resolution first.

    Args:
        network: as `build_network` returns it, or another module that may have `supervision_scales`.
        dimensions: 2 or 3.
        enabled: the plan's `training.deep_supervision`; without it only the full resolution is seen.
    """
    scales: Sequence[Sequence[int]] | None = getattr(network, "supervision_scales", None)
    return (scales or [[1] * dimensions])[: None if enabled else 1]


class ListOutput(nn.Module):
    """A network that knows nothing of medseg, answering in the form that medseg expects.

    Args:
        network: answers one tensor of logits, or a list or tuple of them with the full resolution first.
        dimensions: 2 or 3.
    """

    def __init__(self, network: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.network = network
        self.supervision_scales = getattr(network, "supervision_scales", [[1] * dimensions])

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        """Return the `levels` finest answers to an image (batch, channel, ...)."""
        answer = self.network(x)
        if isinstance(answer, torch.Tensor):
            return [answer]
        if isinstance(answer, list | tuple):
            return list(answer[:levels])
        raise PlanError(
            f"The network returned a {type(answer).__name__}; expected logits (batch, outputs, ...), or a list of them."
        )


def _as_list(network: nn.Module, dimensions: int) -> nn.Module:
    """Return a network that answers a list: the module itself where its `forward` takes `levels`, else wrapped."""
    if "levels" in inspect.signature(network.forward).parameters:
        return network
    return ListOutput(network, dimensions)
