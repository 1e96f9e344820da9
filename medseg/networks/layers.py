"""Instance norm with activation, and upsampling, in the way that is fastest on a CPU.

On a CPU activations stay channels-last through the whole network (the channels of a voxel lie side by side in memory).
That is oneDNN's layout for convolutions, so it converts nothing; torch's own instance norm and transposed convolution
would convert back each time. `benchmarks/training/train_step.py` measures the gain. On other devices these are the
plain torch functions. The parameters lie in ordinary torch modules either way, so weights are the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_fast_layout(x: Tensor) -> Tensor:
    """Return an image (batch, channel, ...) in the layout that every following layer keeps: channels-last on a CPU.

    With one channel both layouts are the same bytes, and `contiguous(memory_format=...)` would leave the strides as
    they are. But layers choose their layout by the strides, so a copy has to set them.
    """
    return torch.empty_like(x, memory_format=_LAYOUT[x.ndim]).copy_(x) if _is_fast_here(x) else x


def _is_fast_here(x: Tensor) -> bool:
    """Return whether to compute in the way of a CPU; graphs for other programs have the plain operators."""
    return x.device.type == "cpu" and not (torch.onnx.is_in_onnx_export() or torch.jit.is_tracing())


def norm_act(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """Return leaky_relu(instance_norm(x)).

    Args:
        x: (batch, channel, ...) activations.
        weight: (channel,) scale of the norm.
        bias: (channel,) shift of the norm.
        eps: added to the variance.
        slope: the slope of the leaky ReLU below zero; 1 leaves the activation out.
    """
    fast = _is_fast_here(x) and x.dtype in (torch.float32, torch.bfloat16) and weight.dtype == torch.float32
    if fast and slope > 0 and x.shape[1] > 1 and x.is_contiguous(memory_format=_LAYOUT[x.ndim]):
        answer: Tensor = _NormAct.apply(x, weight, bias, eps, slope)  # type: ignore[no-untyped-call]
        return answer
    x = functional.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return x if slope == 1 else functional.leaky_relu(x, slope, inplace=True)


class _NormAct(torch.autograd.Function):
    """leaky_relu(instance_norm(x)) of a dense channels-last tensor, sample by sample.

    One sample of a channels-last batch is itself a channels-last batch of one, for which instance norm is the same as
    batch norm; and torch's batch norm is fast in this layout, where its instance norm is not. Statistics and sums are
    float32 for bf16 activations, too. The gradient of the activation needs only the sign of its output (a positive
    slope keeps the sign), so the values between norm and activation are not stored.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        y = torch.empty_like(x)
        mean = torch.empty(x.shape[:2], dtype=torch.float32)
        inverse_std = torch.empty_like(mean)
        for number, (sample, normalized) in enumerate(zip(torch.split(x, 1), torch.split(y, 1), strict=True)):
            out = (normalized, mean[number], inverse_std[number])  # views of y: each sample is written in place
            torch.native_batch_norm(sample, weight, bias, None, None, True, 0.0, eps, out=out)
            if slope != 1:
                functional.leaky_relu_(normalized, slope)
        ctx.save_for_backward(x, y, weight, mean, inverse_std)
        ctx.eps, ctx.slope = eps, slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, inverse_std = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=_LAYOUT[x.ndim])
        to_x = torch.empty_like(x)
        to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        to_norm = torch.empty_like(x[:1])  # one buffer for all samples: the gradient between activation and norm
        samples = zip(*(torch.split(each, 1) for each in (x, y, gradient)), strict=True)
        for number, (sample, output, to_output) in enumerate(samples):
            # True: `output` is the activation's result, not its input
            torch.ops.aten.leaky_relu_backward.grad_input(to_output, output, ctx.slope, True, grad_input=to_norm)
            statistics = (None, None, mean[number], inverse_std[number])
            parts = torch.ops.aten.native_batch_norm_backward(
                to_norm, sample, weight, *statistics, True, ctx.eps, [True, True, True]
            )
            to_x[number : number + 1].copy_(parts[0])
            to_weight += parts[1]
            to_bias += parts[2]
        return to_x, to_weight, to_bias, None, None


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
    if not _is_fast_here(x) or isinstance(layer, Interpolation):
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
