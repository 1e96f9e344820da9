"""The networks of a model as one TorchScript program with the axes of MONAI, checked against torch."""

from __future__ import annotations

import io
import warnings
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.core.errors import ModelError
from medseg.core.files import saving
from medseg.models.model import Model, input_channels
from medseg.networks.device import evaluating, first_line, is_out_of_memory
from medseg.networks.difference import largest_difference
from medseg.networks.row import FullResolution

TOLERANCE = 1e-4
"""Largest difference between the logits of the program and of torch, as a share of the largest: they run the same
kernels, fused in another way."""
_BATCHES = (1, 3)
"""Numbers of tiles that the program is checked with."""


class MeanOfAll(nn.Module):
    """Mean logits of all folds and mirrored copies, with the axes of MONAI: (batch, channel, x, y, z).

    Args:
        model: its folds are averaged, and its plan says which axes are mirrored.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.networks = nn.ModuleList(FullResolution(network).cpu().float() for network in model.networks)
        axes = [2 + axis for axis in model.configuration.mirror_axes] if model.plan.inference.mirror else []
        self.flips = [list(some) for some in chain(*(combinations(axes, count) for count in range(len(axes) + 1)))]
        self.order = [0, 1, *(2 + axis for axis in axes_of_monai(model.plan.transpose_forward))]
        self.back = [self.order.index(axis) for axis in range(5)]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, output, x, y, z) of tiles (batch, channel, x, y, z)."""
        tiles = image.permute(self.order)
        answers = [
            network(tiles.flip(flip) if flip else tiles).flip(flip) if flip else network(tiles)
            for network in self.networks
            for flip in self.flips
        ]
        return torch.stack(answers).mean(0).permute(self.back)


def axes_of_monai(transpose_forward: list[int]) -> list[int]:
    """Return which axis of (x, y, z) the network has first, second and third.

    Args:
        transpose_forward: the same for (z, y, x), as plans have it.

    >>> axes_of_monai([0, 1, 2]), axes_of_monai([2, 0, 1])
    ([2, 1, 0], [0, 2, 1])
    """
    return [2 - axis for axis in transpose_forward]


def as_monai(values: list[Any], transpose_forward: list[int]) -> list[Any]:
    """Return one value for each axis of the network in the order (x, y, z).

    Args:
        values: in the order of the network.
        transpose_forward: as plans have it.

    >>> as_monai([40, 56, 48], [0, 1, 2]), as_monai([40, 56, 48], [2, 0, 1])
    ([48, 56, 40], [40, 48, 56])
    """
    by_axis = dict(zip(axes_of_monai(transpose_forward), values, strict=True))
    return [by_axis[axis] for axis in range(3)]


def write_program(model: Model, path: Path) -> float:
    """Write the networks of a model as one program, and return by how much its logits differ from torch's.

    Args:
        model: on the CPU; of three dimensions.
        path: the file to write.

    Raises:
        ModelError: a network cannot be traced, or the program does not answer as torch does.
    """
    shape = as_monai(list(model.configuration.patch_voxels), model.plan.transpose_forward)
    example = torch.zeros(2, input_channels(model.plan, model.configuration), *shape)
    network = MeanOfAll(model)
    with evaluating(network):
        program = _traced(network, example, model.configuration.network.name)
        difference = _difference(network, program, example[:1])
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The program's logits differ from torch's by {difference:.2g} of the largest one; expected at most "
            f"{TOLERANCE:g}. Nothing was written."
        )
    with saving(path) as temporary:
        Path(temporary).write_bytes(program)
    return difference


def _traced(network: nn.Module, example: torch.Tensor, name: str) -> bytes:
    """Return a network as TorchScript."""
    stream = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing, which is checked with other tiles; of its age
            torch.jit.save(torch.jit.trace(network, example, check_trace=False), stream)
    except Exception as error:  # tracing raises all kinds of errors
        if is_out_of_memory(error):
            raise
        raise ModelError(f"The network {name} cannot be traced: {first_line(error)}") from None
    return stream.getvalue()


def _difference(network: nn.Module, program: bytes, example: torch.Tensor) -> float:
    """Return by how much a program's logits of noise differ from torch's, as a share of the largest logit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(io.BytesIO(program))
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for count in _BATCHES:
        tiles = torch.randn(count, *example.shape[1:], generator=generator)
        expected, answer = network(tiles), loaded(tiles)
        if answer.shape != expected.shape:
            raise ModelError(f"The program answers {tuple(answer.shape)}, torch {tuple(expected.shape)}.")
        worst = max(worst, largest_difference(answer, expected))
    return worst
