"""Instance norm with leaky ReLU: on a CPU one layer that reads and writes memory once, elsewhere torch's functions.

Torch's instance norm converts activations from channels-last and back, and its batch norm, which does not, reads them
three times and is followed by another two passes for the activation (docs/benchmarks/speed.md has the gain).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from medseg.networks.layout import LAYOUT, is_fast_here

_PIECE = 1 << 18  # values of a sample that are computed at once: results do not depend on the number of threads
_FEW = 1 << 20  # values that one thread computes: two were not quicker with 720,000 values, in a step on two cores
_SHARES = 3  # parts of the work of a thread, so that a core with other work leaves some to the others


def norm_act(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """Return leaky_relu(instance_norm(x)).

    Args:
        x: (batch, channel, ...) activations.
        weight: (channel,) scale of the norm.
        bias: (channel,) shift of the norm.
        eps: added to the variance.
        slope: the slope of the leaky ReLU below zero; 1 leaves the activation out.
    """
    if _is_compiled_here(x, weight, bias) and 0 < slope <= 1:
        answer: Tensor = _NormAct.apply(x, weight, bias, eps, slope)  # type: ignore[no-untyped-call]
        return answer
    x = functional.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return x if slope == 1 else functional.leaky_relu(x, slope, inplace=True)


def _is_compiled_here(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Return whether the compiled loops are for these activations: real ones, channels-last on a CPU."""
    return (
        not torch.compiler.is_compiling()
        and is_fast_here(x)
        and type(x) is Tensor  # not one that only has a shape
        and x.numel() > 0
        and x.dtype in (torch.float32, torch.bfloat16)
        and weight.dtype == bias.dtype == torch.float32
        and x.is_contiguous(memory_format=LAYOUT[x.ndim])
        and _loops() is not None
    )


@cache
def _loops() -> Any:
    """Return the compiled loops; None if numba does not support this version of numpy."""
    try:
        from medseg.networks import norm_act_numba
    except ImportError:
        return None
    return norm_act_numba


class _NormAct(torch.autograd.Function):
    """leaky_relu(instance_norm(x)) of a dense channels-last tensor.

    Statistics and sums are float64 and float32 for bf16 activations, too. The gradient needs only the sign of what the
    activation received, which is computed again from x: nothing but x, which is there, is kept for it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        loops = _loops()
        y = torch.empty_like(x)
        values, results = _samples(x), _samples(y)
        channels = x.shape[1]
        pieces = _Pieces(values, channels)
        found, variance = np.empty((pieces.count, 2, channels)), np.empty((len(x), channels))
        affine = np.empty((3, len(x), channels), np.float32)
        norm = np.stack((weight.detach().numpy(), bias.detach().numpy()))
        pieces.each(loops.moments, values, pieces.length, found)
        loops.join_moments(values, pieces.length, found, norm, eps, affine, variance)
        pieces.each(loops.normalize, values, results, pieces.length, affine, slope)
        ctx.save_for_backward(x)
        ctx.statistics = affine, variance, slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        loops = _loops()
        (x,) = ctx.saved_tensors
        affine, variance, slope = ctx.statistics
        to_x = torch.empty_like(x)
        values, results = _samples(x), _samples(to_x)
        above = _samples(gradient.contiguous(memory_format=LAYOUT[x.ndim]))
        pieces = _Pieces(values, x.shape[1])
        found, to_norm = np.empty((pieces.count, 2, x.shape[1])), np.empty((2, x.shape[1]))
        cancelled = np.empty((2, *variance.shape), np.float32)
        pieces.each(loops.gradient_sums, values, above, pieces.length, affine, slope, found)
        loops.join_gradients(values, found, variance, cancelled, to_norm)
        pieces.each(loops.gradient_of_input, values, above, results, pieces.length, affine, slope, cancelled)
        to_weight, to_bias = torch.from_numpy(to_norm).float()
        return to_x, to_weight, to_bias, None, None


def _samples(x: Tensor) -> NDArray:
    """Return the memory of channels-last activations: (batch, values) of float32, or uint16 for the bits of bf16."""
    flat = x.detach().movedim(1, -1).view(x.shape[0], -1)
    return flat.numpy() if x.dtype == torch.float32 else flat.view(torch.int16).numpy().view(np.uint16)


class _Pieces:
    """The pieces of a batch, computed on as many threads as torch has.

    Args:
        values: (batch, values) of the activations.
        channels: how many values a voxel has; a piece is of whole voxels.

    Attributes:
        length: values of a piece; the last one of a sample may be shorter.
        count: pieces of the batch.
    """

    def __init__(self, values: NDArray, channels: int) -> None:
        self.length = max(1, _PIECE // channels) * channels
        self.count = len(values) * -(-values.shape[1] // self.length)
        self._threads = 1 if values.size <= _FEW else min(torch.get_num_threads(), self.count)

    def each(self, compute: Callable[..., None], *arguments: Any) -> None:
        """Call a compiled function with its arguments and the bounds of a part of the pieces, until all are done."""
        count = min(self.count, _SHARES * self._threads)
        waiting = deque(pairwise(self.count * number // count for number in range(count + 1)))

        def draw() -> None:
            while True:
                try:
                    share = waiting.popleft()
                except IndexError:
                    return
                compute(*arguments, *share)

        helpers = []
        with suppress(RuntimeError):  # no thread can be started, as when Python ends: this one computes all pieces
            for _ in range(self._threads - 1):
                helpers.append(_helpers(torch.get_num_threads()).submit(draw))
        draw()
        for helper in helpers:
            helper.result()


@lru_cache(maxsize=1)
def _helpers(threads: int) -> ThreadPoolExecutor:
    """Return the threads beside the caller's."""
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="norm")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has no threads but one
