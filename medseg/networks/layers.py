"""Instance norm + activation and upsampling, computed the way that is fastest on a processor.

On a CPU activations stay channels-last from end to end, which spares oneDNN's layout conversions; torch's own
instance norm and transposed convolution would undo that. `benchmarks/train_step.py` measures the gain. On
other devices these are the plain torch functions. Parameters lie in ordinary torch modules either way.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

_LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_fast_layout(x: Tensor) -> Tensor:
    """The input in the layout that every following layer keeps.

    With one channel both layouts are the same memory, and `contiguous` would leave the strides, by which every
    layer chooses, as they are: they have to be set by a copy.
    """
    return torch.empty_like(x, memory_format=_LAYOUT[x.ndim]).copy_(x) if x.device.type == "cpu" else x


def norm_act(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """leaky_relu(instance_norm(x)) of (batch, channel, ...); a slope of 1 leaves the activation out."""
    fast = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and weight.dtype == torch.float32
    if fast and slope > 0 and x.shape[1] > 1 and x.is_contiguous(memory_format=_LAYOUT[x.ndim]):
        answer: Tensor = _NormAct.apply(x, weight, bias, eps, slope)  # type: ignore[no-untyped-call]
        return answer
    x = functional.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return x if slope == 1 else functional.leaky_relu(x, slope, inplace=True)


class _NormAct(torch.autograd.Function):
    """leaky_relu(instance_norm(x)) of a dense channels-last tensor.

    A sample of a channels-last batch is itself a channels-last batch of one, for which instance norm is batch
    norm, and torch's channels-last batch norm is fast; statistics and sums are fp32 for bf16 activations too.
    The activation's gradient needs only the sign of its output, so nothing else is stored for it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        y = torch.empty_like(x)
        mean = torch.empty(x.shape[:2], dtype=torch.float32)
        inverse_std = torch.empty_like(mean)
        for number, (one, answer) in enumerate(zip(torch.split(x, 1), torch.split(y, 1), strict=True)):
            out = (answer, mean[number], inverse_std[number])
            torch.native_batch_norm(one, weight, bias, None, None, True, 0.0, eps, out=out)
            if slope != 1:
                functional.leaky_relu_(answer, slope)
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
        inner = torch.empty_like(x[:1])
        samples = zip(*(torch.split(each, 1) for each in (x, y, gradient)), strict=True)
        for number, (one, answer, above) in enumerate(samples):
            torch.ops.aten.leaky_relu_backward.grad_input(above, answer, ctx.slope, True, grad_input=inner)
            statistics = (None, None, mean[number], inverse_std[number])
            parts = torch.ops.aten.native_batch_norm_backward(
                inner, one, weight, *statistics, True, ctx.eps, [True, True, True]
            )
            to_x[number : number + 1].copy_(parts[0])
            to_weight += parts[1]
            to_bias += parts[2]
        return to_x, to_weight, to_bias, None, None


def upsample(x: Tensor, layer: Any) -> Tensor:
    """Transposed convolution whose stride is its kernel; on a CPU one matrix product and a shuffle of voxels."""
    if x.device.type != "cpu":
        return layer(x)
    weight, bias = layer.weight, layer.bias
    axes, (inputs, outputs), kernel = x.ndim - 2, weight.shape[:2], weight.shape[2:]
    matrix = weight.permute(*range(2, 2 + axes), 1, 0).reshape(-1, inputs)
    y = functional.linear(x.movedim(1, -1), matrix, None if bias is None else bias.repeat(prod(kernel)))
    y = y.view(x.shape[0], *x.shape[2:], *kernel, outputs)
    order = [axis for number in range(axes) for axis in (1 + number, 1 + axes + number)]
    size = [length * step for length, step in zip(x.shape[2:], kernel, strict=True)]
    return y.permute(0, *order, 1 + 2 * axes).reshape(x.shape[0], *size, outputs).movedim(-1, 1)
