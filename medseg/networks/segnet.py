"""SegNet in 2D and 3D (Badrinarayanan et al. 2017, arxiv.org/abs/1511.00561): unpooling by the indices of max pooling.

The encoder has the 13 convolutions of VGG16 with batch normalization, the decoder mirrors them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from medseg.plans.arguments import check_sizes
from medseg.plans.schema import Configuration

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each stage of VGG16


def max_pool(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Halve a grid by its largest values.

    Args:
        x: (batch, channel, ...) of even size.

    Returns:
        The largest value of each cell of 2 voxels along each axis, and where it lies: the index of its voxel within
        the image, in C order. The first counts if several are the same.
    """
    pool = functional.max_pool2d if x.ndim == 4 else functional.max_pool3d
    values, indices = pool(x, 2, return_indices=True)
    return values, indices


def unpool(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Double a grid: each value goes where `max_pool` found the largest one, and zeros elsewhere.

    torch's own max_unpool2d and max_unpool3d do the same; but neither ONNX nor OpenVINO has them, and on CUDA they are
    not deterministic.

    Args:
        x: (batch, channel, ...) values.
        indices: of `max_pool`, of the same shape.

    Returns:
        (batch, channel, ...) of double the size along each axis.
    """
    shape = [2 * size for size in x.shape[2:]]
    places = torch.arange(prod(shape), device=x.device).view(1, 1, *shape)
    return torch.where(_repeat(indices) == places, _repeat(x), torch.zeros((), dtype=x.dtype, device=x.device))


def _repeat(x: torch.Tensor) -> torch.Tensor:
    """Double a grid by repeating each value along each axis."""
    for axis in range(2, x.ndim):
        shape = list(x.shape)
        shape[axis] *= 2
        x = torch.stack((x, x), dim=axis + 1).reshape(shape)
    return x


class SegNet(nn.Module):
    """SegNet.

    Args:
        dimensions: 2 or 3.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
        features: of the five stages, at the full resolution and each half of the one before.
    """

    def __init__(
        self, dimensions: int, channels: int, outputs: int, features: Sequence[int] = (64, 128, 256, 512, 512)
    ) -> None:
        super().__init__()
        check_sizes("segnet", "features", features, len(_CONVOLUTIONS))
        convolution: Any = getattr(nn, f"Conv{dimensions}d")
        normalization: Any = getattr(nn, f"BatchNorm{dimensions}d")

        def stage(widths: Sequence[int], last_is_head: bool = False) -> nn.Sequential:
            layers: list[nn.Module] = []
            for inputs, size in pairwise(widths):
                layers += [convolution(inputs, size, 3, padding=1), normalization(size), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers[: -2 if last_is_head else None])

        counts = list(zip([channels, *features[:-1]], features, _CONVOLUTIONS, strict=True))
        self.encoder = nn.ModuleList([stage([inputs] + [size] * count) for inputs, size, count in counts])
        decoder = [stage([size] * count + [inputs]) for inputs, size, count in counts[:0:-1]]
        _, size, count = counts[0]
        self.decoder = nn.ModuleList([*decoder, stage([size] * count + [outputs], last_is_head=True)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # He et al. 2015, as the paper says

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, outputs, ...) of an image (batch, channel, ...)."""
        indices = []
        for stage in self.encoder:
            x, index = max_pool(stage(x))
            indices.append(index)
        for stage in self.decoder:
            x = stage(unpool(x, indices.pop()))
        return x


def make_segnet(configuration: Configuration, channels: int, outputs: int) -> SegNet:
    """Return SegNet as a configuration describes it.

    Args:
        configuration: has the dimensions and the arguments.
        channels: the number of channels of the image.
        outputs: the number of channels of the logits.
    """
    return SegNet(configuration.dimensions, channels, outputs, **configuration.network.arguments)
