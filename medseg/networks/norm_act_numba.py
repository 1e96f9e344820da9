"""Instance norm with leaky ReLU and its gradient, in loops that numba compiles for a CPU; imported where needed.

Activations are the flat memory (batch, values) of samples whose voxels have their channels side by side
(channels-last): element i belongs to channel i % channels. Values are float32, or bf16 as the bits of uint16, which
numba has no type for. They are computed piece by piece, a piece being so many values of a sample: threads share the
pieces, and results do not depend on the number of threads. Rows of several voxels are summed element by element, so
that the processor's vectors are full with few channels too; per-channel values are repeated to the length of such a row
(`_repeated`).

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
def _place(samples: NDArray, piece: int, number: int) -> tuple[int, int, int]:
    """Return where a piece lies: its sample, its first value and the value after its last."""
    in_sample = (samples.shape[1] + piece - 1) // piece
    first = number % in_sample * piece
    return number // in_sample, first, min(first + piece, samples.shape[1])


@compiled
def moments(samples: NDArray, piece: int, found: NDArray, begin: int, end: int) -> None:
    """Compute the mean and the sum of squared differences from it, by channel, of some pieces.

    Args:
        samples: the activations.
        piece: values of a piece.
        found: (piece, 2, channel) float64: mean and sum, written.
        begin: first piece.
        end: piece after the last.
    """
    for number in range(begin, end):
        sample, first, last = _place(samples, piece, number)
        _moments(samples[sample, first:last], found[number, 0], found[number, 1])


@compiled
def _moments(x: NDArray, mean: NDArray, squares: NDArray) -> None:
    """Compute the mean and the sum of squared differences of a piece, by channel.

    Its parts are joined by the formula of Chan, Golub and LeVeque, 1979 (Stanford STAN-CS-79-773).
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
def join_moments(
    samples: NDArray, piece: int, found: NDArray, norm: NDArray, eps: float, affine: NDArray, variance: NDArray
) -> None:
    """Join the moments of pieces to those of samples, and derive what values are multiplied by and shifted with.

    Args:
        samples: the activations.
        piece: values of a piece.
        found: (piece, 2, channel) float64, as `moments` writes it.
        norm: (2, channel) float32: scale and shift of the norm.
        eps: added to the variance.
        affine: (3, batch, channel) float32: factor and shift of `normalize`, and the mean; written.
        variance: (batch, channel) float64, `eps` included; written.
    """
    batch, channels = variance.shape
    voxels, in_sample = samples.shape[1] // channels, len(found) // batch
    for sample in range(batch):
        for channel in range(channels):
            mean = 0.0
            for number in range(sample * in_sample, (sample + 1) * in_sample):
                _, first, last = _place(samples, piece, number)
                mean += found[number, 0, channel] * ((last - first) // channels)
            mean /= voxels
            squares = 0.0
            for number in range(sample * in_sample, (sample + 1) * in_sample):
                _, first, last = _place(samples, piece, number)
                apart = found[number, 0, channel] - mean
                squares += found[number, 1, channel] + apart * apart * ((last - first) // channels)
            variance[sample, channel] = squares / voxels + eps
            scale = norm[0, channel] / np.sqrt(variance[sample, channel])
            affine[0, sample, channel] = scale
            affine[1, sample, channel] = norm[1, channel] - mean * scale
            affine[2, sample, channel] = mean


@compiled
def normalize(
    samples: NDArray, results: NDArray, piece: int, affine: NDArray, slope: float, begin: int, end: int
) -> None:
    """Write leaky_relu(value * factor + shift) of some pieces.

    Args:
        samples: the activations.
        results: of the same shape and type, written.
        piece: values of a piece.
        affine: (3, batch, channel) float32, of `join_moments`.
        slope: of the leaky ReLU below zero, above 0 and at most 1.
        begin: first piece.
        end: piece after the last.
    """
    for number in range(begin, end):
        sample, first, last = _place(samples, piece, number)
        _normalize(samples[sample, first:last], results[sample, first:last], affine[:, sample], slope)


@compiled
def _normalize(x: NDArray, y: NDArray, affine: NDArray, slope: float) -> None:
    """Write leaky_relu(x * factor + shift) of a piece to y."""
    scales, shifts, below = _repeated(affine[0]), _repeated(affine[1]), np.float32(slope)
    for start in range(0, len(x), len(scales)):
        values, results = x[start : start + len(scales)], y[start : start + len(scales)]
        for i in range(len(values)):
            z = _widen(values[i]) * scales[i] + shifts[i]
            results[i] = _narrow(max(z, z * below), results[i])


@compiled
def gradient_sums(
    samples: NDArray,
    above: NDArray,
    piece: int,
    affine: NDArray,
    slope: float,
    found: NDArray,
    begin: int,
    end: int,
) -> None:
    """Sum the gradient before the activation by channel, and its products with value - mean, of some pieces.

    Args:
        samples: what was normalized.
        above: the gradient of the results.
        piece: values of a piece.
        affine: (3, batch, channel) float32, as in `normalize`, whose results had the signs that count.
        slope: of the leaky ReLU.
        found: (piece, 2, channel) float64: the sums, the sums of products; written.
        begin: first piece.
        end: piece after the last.
    """
    for number in range(begin, end):
        sample, first, last = _place(samples, piece, number)
        _gradient_sums(samples[sample, first:last], above[sample, first:last], affine[:, sample], slope, found[number])


@compiled
def _gradient_sums(x: NDArray, gradient: NDArray, affine: NDArray, slope: float, sums: NDArray) -> None:
    """Sum the gradient before the activation of a piece, and its products with x - mean, by channel."""
    scales, shifts, means, below = _repeated(affine[0]), _repeated(affine[1]), _repeated(affine[2]), np.float32(slope)
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
def join_gradients(samples: NDArray, found: NDArray, variance: NDArray, cancelled: NDArray, to_norm: NDArray) -> None:
    """Join the sums of pieces to what a change of mean and variance cancels, and to the gradient of the norm.

    Args:
        samples: what was normalized.
        found: (piece, 2, channel) float64, as `gradient_sums` writes it.
        variance: (batch, channel) float64, of `join_moments`.
        cancelled: (2, batch, channel) float32: the mean of the gradient before the activation, and the mean of its
            products with value - mean, divided by the variance; written.
        to_norm: (2, channel) float64: gradients of scale and shift, written.
    """
    batch, channels = variance.shape
    voxels, in_sample = samples.shape[1] // channels, len(found) // batch
    to_norm[:] = 0
    for sample in range(batch):
        for channel in range(channels):
            total, product = 0.0, 0.0
            for number in range(sample * in_sample, (sample + 1) * in_sample):
                total += found[number, 0, channel]
                product += found[number, 1, channel]
            cancelled[0, sample, channel] = total / voxels
            cancelled[1, sample, channel] = product / voxels / variance[sample, channel]
            to_norm[0, channel] += product / np.sqrt(variance[sample, channel])
            to_norm[1, channel] += total


@compiled
def gradient_of_input(
    samples: NDArray,
    above: NDArray,
    results: NDArray,
    piece: int,
    affine: NDArray,
    slope: float,
    cancelled: NDArray,
    begin: int,
    end: int,
) -> None:
    """Write the gradient of what was normalized, of some pieces: factor * (inner - average - tilt * (value - mean)).

    `inner` is the gradient before the activation, `average` and `tilt` are its parts that are cancelled.

    Args:
        samples: what was normalized.
        above: the gradient of the results.
        results: of the same shape and type, written.
        piece: values of a piece.
        affine: (3, batch, channel) float32, as in `normalize`.
        slope: of the leaky ReLU.
        cancelled: (2, batch, channel) float32, of `join_gradients`.
        begin: first piece.
        end: piece after the last.
    """
    for number in range(begin, end):
        sample, first, last = _place(samples, piece, number)
        _gradient_of_input(
            samples[sample, first:last],
            above[sample, first:last],
            results[sample, first:last],
            affine[:, sample],
            slope,
            cancelled[:, sample],
        )


@compiled
def _gradient_of_input(
    x: NDArray, gradient: NDArray, to_x: NDArray, affine: NDArray, slope: float, cancelled: NDArray
) -> None:
    """Write the gradient of what was normalized, of a piece, to `to_x`."""
    scales, shifts, means = _repeated(affine[0]), _repeated(affine[1]), _repeated(affine[2])
    averages, tilts = _repeated(cancelled[0]), _repeated(cancelled[1])
    below, one = np.float32(slope), np.float32(1)
    row = len(scales)
    for start in range(0, len(x), row):
        values, above, results = x[start : start + row], gradient[start : start + row], to_x[start : start + row]
        for i in range(len(values)):
            value = _widen(values[i])
            inner = _widen(above[i]) * (one if value * scales[i] + shifts[i] > 0 else below)
            result = scales[i] * (inner - averages[i] - tilts[i] * (value - means[i]))
            results[i] = _narrow(result, results[i])
