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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from medseg.networks.layout import LAYOUT, is_fast_here

_PART = 1 << 18  # values of a sample that are computed in one piece: the results do not depend on the number of threads
_FEW = 1 << 16  # values for which waking other threads takes longer than computing


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
    @np.errstate(all="ignore")  # what is not finite stays so, silently, as with torch
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        loops = _loops()
        y = torch.empty_like(x)
        values, results = _samples(x), _samples(y)
        parts = _Parts(values, x.shape[1])
        found = np.empty((len(parts.pieces), 2, x.shape[1]))
        parts.each(lambda number, piece: loops.moments(values[piece], *found[number]))
        mean, variance = parts.join(found)
        scale = weight.detach().numpy() / np.sqrt(variance + eps)
        affine = [each.astype(np.float32) for each in (scale, bias.detach().numpy() - mean * scale)]
        parts.each(
            lambda number, piece: loops.normalize(
                values[piece], results[piece], *(each[piece[0]] for each in affine), slope
            )
        )
        ctx.save_for_backward(x)
        ctx.statistics = (*affine, mean.astype(np.float32), variance + eps, slope)
        return y

    @staticmethod
    @once_differentiable
    @np.errstate(all="ignore")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        loops = _loops()
        (x,) = ctx.saved_tensors
        scale, shift, mean, variance, slope = ctx.statistics
        gradient = gradient.contiguous(memory_format=LAYOUT[x.ndim])
        to_x = torch.empty_like(x)
        values, above, results = _samples(x), _samples(gradient), _samples(to_x)
        parts = _Parts(values, x.shape[1])
        found = np.empty((len(parts.pieces), 2, x.shape[1]))
        parts.each(
            lambda number, piece: loops.gradient_sums(
                values[piece],
                above[piece],
                *(each[piece[0]] for each in (scale, shift, mean)),
                slope,
                found[number],
            )
        )
        sums, products = parts.add(found)
        average = (sums / parts.voxels).astype(np.float32)
        tilt = (products / parts.voxels / variance).astype(np.float32)
        parts.each(
            lambda number, piece: loops.gradient_of_input(
                values[piece],
                above[piece],
                results[piece],
                *(each[piece[0]] for each in (scale, shift, mean)),
                slope,
                *(each[piece[0]] for each in (average, tilt)),
            )
        )
        to_weight = (products / np.sqrt(variance)).sum(axis=0)
        return to_x, *(torch.from_numpy(each.astype(np.float32)) for each in (to_weight, sums.sum(axis=0))), None, None


def _samples(x: Tensor) -> NDArray:
    """Return the memory of channels-last activations: (batch, values) of float32, or uint16 for the bits of bf16."""
    flat = x.detach().movedim(1, -1).view(x.shape[0], -1)
    return flat.numpy() if x.dtype == torch.float32 else flat.view(torch.int16).numpy().view(np.uint16)


class _Parts:
    """Which pieces of a batch are computed one by one, on as many threads as torch has.

    Attributes:
        pieces: an index into (batch, values) each: the sample's number, and which of its values.
        voxels: how many a sample has.
    """

    def __init__(self, values: NDArray, channels: int) -> None:
        batch, count = values.shape
        step = max(1, _PART // channels) * channels
        self.pieces = [
            (sample, slice(first, min(first + step, count)))
            for sample in range(batch)
            for first in range(0, count, step)
        ]
        self.voxels = count // channels
        self._shares = np.array([(piece.stop - piece.start) // channels for _, piece in self.pieces])
        self._batch = batch
        self._threads = 1 if values.size <= _FEW else min(torch.get_num_threads(), len(self.pieces))

    def each(self, work: Callable[[int, tuple[int, slice]], None]) -> None:
        """Call a function with each piece and its number."""
        waiting = deque(enumerate(self.pieces))

        def draw() -> None:
            while True:
                try:
                    number, piece = waiting.popleft()
                except IndexError:
                    return
                work(number, piece)

        helpers = []
        with suppress(RuntimeError):  # no thread can be started, as when Python ends: this one computes all pieces
            for _ in range(self._threads - 1):
                helpers.append(_helpers(torch.get_num_threads()).submit(draw))
        draw()
        for helper in helpers:
            helper.result()

    def add(self, found: NDArray) -> NDArray:
        """Return the sums (what, sample, channel) of what the pieces have (piece, what, channel)."""
        return found.reshape(self._batch, -1, *found.shape[1:]).sum(axis=1).swapaxes(0, 1)

    def join(self, found: NDArray) -> tuple[NDArray, NDArray]:
        """Return mean and variance (sample, channel) from means and sums of squares of the pieces."""
        shares = self._shares.reshape(self._batch, -1, 1)
        means, squares = np.moveaxis(found.reshape(self._batch, -1, *found.shape[1:]), 2, 0)
        mean = (means * shares).sum(axis=1) / self.voxels
        between = shares * (means - mean[:, None]) ** 2
        return mean, (squares + between).sum(axis=1) / self.voxels


@lru_cache(maxsize=1)
def _helpers(threads: int) -> ThreadPoolExecutor:
    """Return the threads beside the caller's."""
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="norm")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has no threads but one
