"""Instance norm with leaky ReLU and its gradient, in loops that numba compiles for a CPU; imported where needed.

Every array is the flat memory of one sample, or of a part of one, whose voxels have their channels side by side
(channels-last): element i belongs to channel i % channels. Values are float32, or bf16 as the bits of uint16, which
numba has no type for. Rows of several voxels are summed element by element, so that the processor's vectors are full
with few channels too; per-channel values are repeated to the length of such a row (`repeated`).

Sums are float32 over at most `_VALUES_AT_ONCE` values, and float64 from there on. Each value is read once from memory
for the statistics (a second time from the cache, for a variance around the mean) and once to be normalized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from medseg.core.machine.compiling import compiled

_VALUES_AT_ONCE = 1 << 14  # 64 KB of float32: what a core's second cache holds beside the rest
_ROW = 512  # values of a row, or more with more channels


def _make_widen(_: Any, value: Any) -> tuple[Any, Callable]:
    """Return the code that makes a float32 of a float32, or of the bits of a bf16, with which it begins."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if value == types.float32:
            return arguments[0]
        bits = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(value), generate


def _make_narrow(_: Any, value: Any, like: Any) -> tuple[Any, Callable]:
    """Return the code that leaves a float32 or rounds it to the nearest bf16 (ties to even), whichever `like` is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if like == types.float32:
            return arguments[0]
        word = ir.IntType(32)
        bits = builder.bitcast(arguments[0], word)
        upper = builder.lshr(bits, ir.Constant(word, 16))
        half = builder.add(builder.and_(upper, ir.Constant(word, 1)), ir.Constant(word, 0x7FFF))
        rounded = builder.lshr(builder.add(bits, half), ir.Constant(word, 16))
        is_number = builder.fcmp_ordered("==", arguments[0], arguments[0])
        return builder.trunc(builder.select(is_number, rounded, ir.Constant(word, 0x7FC0)), ir.IntType(16))

    return like(value, like), generate


_widen: Any = intrinsic(_make_widen)
_narrow: Any = intrinsic(_make_narrow)


@compiled
def _row_length(channels: int) -> int:
    """Return how many values a row has: whole voxels."""
    return channels * max(1, (_ROW + channels - 1) // channels)


@compiled
def _repeated(values: NDArray) -> NDArray:
    """Return a float32 value per channel for each value of a row."""
    channels = len(values)
    row = np.empty(_row_length(channels), np.float32)
    for start in range(0, len(row), channels):
        for channel in range(channels):
            row[start + channel] = values[channel]
    return row


@compiled
def _sum_channels(row: NDArray, width: int, totals: NDArray) -> None:
    """Add the values of a row to the totals of their channels."""
    channels = len(totals)
    for start in range(0, width, channels):
        for channel in range(channels):
            totals[channel] += row[start + channel]


@compiled
def moments(x: NDArray, mean: NDArray, squares: NDArray) -> None:
    """Compute the mean and the sum of squared differences from it, by channel.

    Pieces are joined by the formula of Chan, Golub and LeVeque, 1979 (Stanford STAN-CS-79-773).

    Args:
        x: the values.
        mean: (channel,) float64, written.
        squares: likewise.
    """
    channels = len(mean)
    mean[:] = 0
    squares[:] = 0
    row = _row_length(channels)
    sums, centre = np.empty(row, np.float32), np.empty(channels, np.float64)
    before = 0  # voxels
    start = 0
    while start < len(x):
        width = min(row, len(x) - start)
        rows = min(max(1, _VALUES_AT_ONCE // row), (len(x) - start) // width)
        voxels = rows * width // channels
        sums[:] = 0
        for number in range(rows):
            values = x[start + number * width : start + (number + 1) * width]
            for i in range(width):
                sums[i] += _widen(values[i])
        centre[:] = 0
        _sum_channels(sums, width, centre)
        for channel in range(channels):
            centre[channel] /= voxels
        around = _repeated(centre)
        sums[:] = 0
        for number in range(rows):
            values = x[start + number * width : start + (number + 1) * width]
            for i in range(width):
                difference = _widen(values[i]) - around[i]
                sums[i] += difference * difference
        _sum_channels(sums, width, squares)
        for channel in range(channels):
            difference = centre[channel] - mean[channel]
            mean[channel] += difference * voxels / (before + voxels)
            squares[channel] += difference * difference * before * voxels / (before + voxels)
        before += voxels
        start += rows * width


@compiled
def normalize(x: NDArray, y: NDArray, scale: NDArray, shift: NDArray, slope: float) -> None:
    """Write leaky_relu(x * scale + shift) to y.

    Args:
        x: the values.
        y: the results, of the same type.
        scale: (channel,) float32.
        shift: likewise.
        slope: of the leaky ReLU below zero, above 0 and at most 1.
    """
    scales, shifts, below = _repeated(scale), _repeated(shift), np.float32(slope)
    for start in range(0, len(x), len(scales)):
        values, results = x[start : start + len(scales)], y[start : start + len(scales)]
        for i in range(len(values)):
            z = _widen(values[i]) * scales[i] + shifts[i]
            results[i] = _narrow(max(z, z * below), results[i])


@compiled
def gradient_sums(
    x: NDArray, gradient: NDArray, scale: NDArray, shift: NDArray, mean: NDArray, slope: float, sums: NDArray
) -> None:
    """Sum the gradient before the activation by channel, and its products with x - mean.

    Args:
        x: what was normalized.
        gradient: of the results.
        scale: (channel,) float32, as in `normalize`, whose results had the signs that count.
        shift: likewise.
        mean: (channel,) float32.
        slope: of the leaky ReLU.
        sums: (2, channel) float64: the sums, the sums of products; written.
    """
    scales, shifts, means, below = _repeated(scale), _repeated(shift), _repeated(mean), np.float32(slope)
    row, one = len(scales), np.float32(1)
    plain, product = np.empty(row, np.float32), np.empty(row, np.float32)
    sums[:] = 0
    piece = row * max(1, _VALUES_AT_ONCE // row)
    for first in range(0, len(x), piece):
        plain[:] = 0
        product[:] = 0
        for start in range(first, min(first + piece, len(x)), row):
            values, above = x[start : start + row], gradient[start : start + row]
            for i in range(len(values)):
                value = _widen(values[i])
                inner = _widen(above[i]) * (one if value * scales[i] + shifts[i] > 0 else below)
                plain[i] += inner
                product[i] += inner * (value - means[i])
        _sum_channels(plain, row, sums[0])
        _sum_channels(product, row, sums[1])


@compiled
def gradient_of_input(
    x: NDArray,
    gradient: NDArray,
    to_x: NDArray,
    scale: NDArray,
    shift: NDArray,
    mean: NDArray,
    slope: float,
    average: NDArray,
    tilt: NDArray,
) -> None:
    """Write the gradient of what was normalized: scale * (inner - average - tilt * (x - mean)).

    `inner` is the gradient before the activation. `average` is its mean, and `tilt` the mean of inner * (x - mean)
    divided by the variance: the parts of it that a change of the mean and of the variance cancel.

    Args:
        x: what was normalized.
        gradient: of the results.
        to_x: written, of the same type.
        scale: (channel,) float32, as in `normalize`.
        shift: likewise.
        mean: likewise, and so on.
        slope: of the leaky ReLU.
        average: (channel,) float32.
        tilt: likewise.
    """
    scales, shifts, means = _repeated(scale), _repeated(shift), _repeated(mean)
    averages, tilts, below, one = _repeated(average), _repeated(tilt), np.float32(slope), np.float32(1)
    row = len(scales)
    for start in range(0, len(x), row):
        values, above, results = x[start : start + row], gradient[start : start + row], to_x[start : start + row]
        for i in range(len(values)):
            value = _widen(values[i])
            inner = _widen(above[i]) * (one if value * scales[i] + shifts[i] > 0 else below)
            result = scales[i] * (inner - averages[i] - tilts[i] * (value - means[i]))
            results[i] = _narrow(result, results[i])
