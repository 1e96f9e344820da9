"""Upsampling by transposed convolutions, in the way that is fastest on a CPU, or by interpolation.

On other devices these are the plain torch functions. The parameters lie in ordinary torch modules either way, so
weights are the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.layout import is_fast_here


class Interpolation(nn.Module):
    """A 1x1 convolution and linear interpolation to a grid that is finer by whole factors.

    The convolution comes first, on the smaller grid: both orders give the same, as the weights of an interpolated voxel
    have a sum of 1.

    Args:
        inputs: channels in.
        outputs: channels out.
        step: how much finer the grid becomes, along each axis.
        bias: whether the convolution has one.
    """

    def __init__(self, inputs: int, outputs: int, step: Sequence[int], bias: bool) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if len(step) == 2 else nn.Conv3d
        self.conv = convolution(inputs, outputs, 1, bias=bias)
        self.step = tuple(step)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, ...) on the finer grid, from (batch, inputs, ...)."""
        mode = "bilinear" if x.ndim == 4 else "trilinear"
        return functional.interpolate(self.conv(x), scale_factor=tuple(map(float, self.step)), mode=mode)


def upsample(x: Tensor, layer: Any) -> Tensor:
    """Return a transposed convolution whose stride equals its kernel, or the answer of an `Interpolation`.

    With such a stride no two inputs reach the same output voxel: on a CPU it is one matrix product over channels and a
    rearrangement of voxels, without a conversion from channels-last.

    Args:
        x: (batch, channel, ...) activations.
        layer: a `ConvTranspose2d`, a `ConvTranspose3d` or an `Interpolation`.
    """
    if not is_fast_here(x) or isinstance(layer, Interpolation):
        return layer(x)
    weight, bias = layer.weight, layer.bias
    axes, (inputs, outputs), kernel = x.ndim - 2, weight.shape[:2], weight.shape[2:]
    # (kernel voxels x outputs, inputs): a row for each voxel that an input voxel becomes, and each output channel
    matrix = weight.permute(*range(2, 2 + axes), 1, 0).reshape(-1, inputs)
    y = functional.linear(x.movedim(1, -1), matrix, None if bias is None else bias.repeat(prod(kernel)))
    y = y.view(x.shape[0], *x.shape[2:], *kernel, outputs)
    # each axis of the grid, followed by that of the kernel: together they are the axis of the finer grid
    order = [axis for number in range(axes) for axis in (1 + number, 1 + axes + number)]
    size = [length * step for length, step in zip(x.shape[2:], kernel, strict=True)]
    return y.permute(0, *order, 1 + 2 * axes).reshape(x.shape[0], *size, outputs).movedim(-1, 1)
