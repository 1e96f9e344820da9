"""Intensity normalization of one channel. Source of the schemes: nnU-Net v2, `default_normalization_schemes.py`.

Every scheme is a clip, a shift and a division; `scaling` finds their figures, block by block, and any part of the
channel can then be normalized by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.plans.schema import Normalization
from medseg.plans.sections import Intensity

_SMALLEST_STD = 1e-8
_BLOCK_VOXELS = 1 << 19


@dataclass(frozen=True)
class Scaling:
    """(value, clipped to `limits`, - shift) / divisor, in float32."""

    shift: float = 0.0
    divisor: float = 1.0
    limits: tuple[float, float] | None = None

    def apply(self, values: NDArray[np.float32]) -> None:
        """Normalize in place."""
        if self.limits is not None:
            np.clip(values, *self.limits, out=values)
        if self.shift != 0:
            values -= np.float32(self.shift)
        if self.divisor != 1:
            values /= np.float32(self.divisor)


def scaling(
    channel: NDArray, how: Normalization, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None = None
) -> Scaling:
    """How the channel (z, y, x) is to be normalized.

    Args:
        channel: intensities as stored.
        how: the scheme of the plan.
        intensity: statistics of the training set's foreground; the scheme `ct` needs them.
        nonzero: where the scan has content; needed if `how.nonzero_only`. What lies outside is to become zero.

    Raises:
        DataError: the values do not suit the scheme.
    """
    match how.scheme:
        case "none":
            return Scaling()
        case "ct":
            if intensity is None:
                raise DataError("CT normalization needs the intensity statistics of the plan, and it has none.")
            limits = (intensity.percentile_00_5, intensity.percentile_99_5)
            return Scaling(intensity.mean, max(intensity.std, _SMALLEST_STD), limits)
        case "rescale_0_1":
            low, high = np.float32(channel.min()), np.float32(channel.max())
            return Scaling(float(low), max(float(high - low), _SMALLEST_STD))
        case "rgb_0_1":
            low, high = channel.min(), channel.max()
            if low < 0 or high > 255:
                raise DataError(
                    f"RGB normalization expects 0 to 255; the values run from {low:g} to {high:g}.",
                    "Choose another scheme for the channel: --normalization CHANNEL=rescale_0_1",
                )
            return Scaling(divisor=255.0)
        case "zscore":
            return _zscore(channel, nonzero if how.nonzero_only else None)


def _zscore(channel: NDArray, where: NDArray[np.bool_] | None) -> Scaling:
    """Mean and standard deviation in float64, of float32 values as they will be normalized."""
    if where is not None and not where.any():
        where = None
    total = squares = 0.0
    count = channel.size if where is None else int(np.count_nonzero(where))
    for values in _parts(channel, where):
        total += float(values.sum())
    mean = total / count
    for values in _parts(channel, where):
        values -= mean
        squares += float(np.square(values, out=values).sum())
    return Scaling(mean, max((squares / count) ** 0.5, _SMALLEST_STD))


def _parts(channel: NDArray, where: NDArray[np.bool_] | None) -> Iterator[NDArray[np.float64]]:
    """The values, or those where it is said, some slices at a time."""
    depth = max(1, _BLOCK_VOXELS * channel.shape[0] // max(1, channel.size))
    for start in range(0, channel.shape[0], depth):
        some = slice(start, start + depth)
        values = channel[some] if where is None else channel[some][where[some]]
        yield values.astype(np.float32).astype(np.float64).ravel()
