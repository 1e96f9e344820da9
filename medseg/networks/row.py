"""A row of the table of networks, and what every network looks like to the rest of medseg."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from medseg.core.errors import PlanError
from medseg.plans.arguments import Parameters
from medseg.plans.schema import Configuration

NetworkFactory = Callable[[Configuration, int, int], nn.Module]
"""(configuration, input channels, outputs) -> module: a row of the table, or a caller's own for one run.

The module maps an image (batch, channel, ...) to logits (batch, outputs, ...) on the same grid. With deep supervision
it has a property `supervision_scales`, for each answer how much coarser than the image it is along each axis, the full
resolution (all 1) first; its `forward(x, levels=1)` answers a list of the first `levels` of them. It may have
`supervision_weights`, how much each answer counts in the loss where the plan names no levels; else they halve.
"""


@dataclass(frozen=True)
class NetworkRow:
    """A row of the table. What its patch must be stands in `medseg.plans.network_rules`.

    Attributes:
        make: makes the module.
        dimensions: the dimensions of the images that it can take: 2, 3 or both.
        paper: authors, year and address of the paper; empty for a network that somebody registered.
        filled: keys of the configuration that fill its arguments, as far as `network.arguments` does not.
        known_arguments: returns the arguments that `network.arguments` may have; None if the network checks them
            itself.
        encoder: names of the parts that are its encoder, which may learn slower or not at all; empty if it is no part
            that could be told from the rest.
        deep_supervision: whether it answers on several levels, as a plan makes it.
        no_onnx: why it cannot be exported to ONNX; empty if it can.
        make_as_before: makes it as versions of medseg did that filled no arguments, for models of theirs.
    """

    make: NetworkFactory
    dimensions: tuple[int, ...] = (2, 3)
    paper: str = ""
    filled: tuple[str, ...] = ()
    known_arguments: Callable[[], Parameters] | None = None
    encoder: tuple[str, ...] = ("stem", "encoder")
    deep_supervision: bool = False
    no_onnx: str = ""
    make_as_before: NetworkFactory | None = None


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
        self.supervision_weights = getattr(network, "supervision_weights", ())

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


WRAPPED = "network."
"""What names begin with in a network that was registered, or is MONAI's (`ListOutput`)."""


def as_list(network: nn.Module, dimensions: int) -> nn.Module:
    """Return a network that answers a list: the module itself where its `forward` takes `levels`, else wrapped.

    Args:
        network: any module that fits `NetworkFactory`.
        dimensions: 2 or 3.
    """
    if "levels" in inspect.signature(network.forward).parameters:
        return network
    return ListOutput(network, dimensions)


class FullResolution(nn.Module):
    """The full resolution of a network that answers with several, for export.

    Args:
        network: as `build_network` returns it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the finest logits of tiles (batch, channel, ...)."""
        answer: torch.Tensor = self.network(tiles)[0]
        return answer
