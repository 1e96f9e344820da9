"""3D convolutions whose gradient in bf16 is right on a CPU also where the kernel is larger than the image.

oneDNN's gradient of the weights is wrong, without an error, where an image in bf16 has fewer slices than the kernel
(with kernels of 7, also fewer rows): memory that nobody wrote, infinite and NaN among it, and sometimes it writes
beyond its own. Seen with torch 2.13.0 and 2.14.1 on a processor with avx512_bf16;
benchmarks/training/shallow_convolution.py looks for it. A network meets that in its coarsest level: VNet (kernels of 5)
with patches of 64, MONAI's networks that divide by 16 (kernels of 3) with patches of 32. Planned U-Nets have four
voxels there or more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """A 3D convolution that is computed in float32 where its gradient in bf16 would be wrong."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        reaches = (step * (size - 1) for step, size in zip(self.dilation, self.kernel_size, strict=True))
        small = any(0 < length <= reach for length, reach in zip(input.shape[-3:], reaches, strict=True))
        on_cpu = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not (small and on_cpu and torch.is_grad_enabled()):
            return super()._conv_forward(input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            answer = super()._conv_forward(input.float(), weight, bias)
        return answer.to(torch.get_autocast_dtype("cpu"))


def with_right_gradients(network: nn.Module) -> nn.Module:
    """Return a network with its 3D convolutions replaced by those of this module: the same weights and answers."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
    return network
