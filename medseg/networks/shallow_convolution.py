"""3D convolutions whose gradient in bf16 is right on a CPU also where the kernel is larger than the image.

oneDNN's gradient of the weights is wrong, without an error, where an image in bf16 has fewer slices than the kernel
(with kernels of 7, also fewer rows): memory that nobody wrote, infinite and NaN among it, and sometimes it writes
beyond its own. Seen with torch 2.13.0 and 2.14.1 on a processor with avx512_bf16;
benchmarks/training/shallow_convolution.py looks for it. A network meets that in its coarsest level: VNet (kernels of 5)
with patches of 64, MONAI's networks that divide by 16 (kernels of 3) with patches of 32. Planned U-Nets have four
voxels there or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """A 3D convolution that is computed in float32 where its gradient in bf16 would be wrong."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _goes_wrong(self, input, input.shape[-3:]):
            return super()._conv_forward(input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            answer = super()._conv_forward(input.float(), weight, bias)
        return answer.to(torch.get_autocast_dtype("cpu"))


class ConvTranspose3d(nn.ConvTranspose3d):
    """A transposed 3D convolution that is computed in float32 where its gradient in bf16 would be wrong."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (batch, channel, z, y, x), as torch's."""
        assert not isinstance(self.padding, str)  # torch refuses it for transposed ones
        fixed = zip(self.stride, self.padding, self.dilation, self.kernel_size, self.output_padding, strict=True)
        lengths = [
            (length - 1) * stride - 2 * padding + dilation * (size - 1) + more + 1
            for length, (stride, padding, dilation, size, more) in zip(input.shape[-3:], fixed, strict=True)
        ]
        if not _goes_wrong(self, input, lengths):
            return super().forward(input, output_size)
        with torch.autocast("cpu", enabled=False):
            answer = super().forward(input.float(), output_size)
        return answer.to(torch.get_autocast_dtype("cpu"))


def _goes_wrong(layer: Conv3d | ConvTranspose3d, input: Tensor, lengths: Sequence[int]) -> bool:
    """Return whether the gradient of a layer's weights may be wrong: also for some shapes that were seen to be right.

    Args:
        layer: the convolution.
        input: its input.
        lengths: of the image along z, y and x: its input or, of a transposed one, its answer.
    """
    reaches = (step * (size - 1) for step, size in zip(layer.dilation, layer.kernel_size, strict=True))
    small = any(0 < length <= reach for length, reach in zip(lengths, reaches, strict=True))
    in_bf16 = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return small and in_bf16 and torch.is_grad_enabled()


_RIGHT: dict[type[nn.Module], type[nn.Module]] = {nn.Conv3d: Conv3d, nn.ConvTranspose3d: ConvTranspose3d}


def with_right_gradients(network: nn.Module) -> nn.Module:
    """Return a network with its 3D convolutions replaced by those of this module: the same weights and answers."""
    for module in network.modules():
        if type(module) in _RIGHT:
            module.__class__ = _RIGHT[type(module)]
    return network
