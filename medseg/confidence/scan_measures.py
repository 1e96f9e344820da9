"""Figures on a scan that differ where scans are of another kind: grid, distribution of intensities, and sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_VOXELS = 1 << 22
_SMALLEST = 1e-6


def scan_measures(image: NDArray[np.float32], spacing_mm: Sequence[float], shape: Sequence[int]) -> tuple[float, ...]:
    """Return figures on a scan, in a fixed order.

    These are the logarithms of spacing and length along each axis; then for each channel five quantiles, and for each
    axis the logarithm of the mean difference of neighbours, divided by the standard deviation of the channel: noise
    raises it, blur lowers it.

    Args:
        image: (channel, z, y, x) normalized, on the network's grid.
        spacing_mm: of the scan, with its axes as the network has them.
        shape: of the scan's nonzero box likewise.
    """
    figures = [log(max(step, _SMALLEST)) for step in spacing_mm]
    figures += [log(max(step * count, _SMALLEST)) for step, count in zip(spacing_mm, shape, strict=True)]
    every = ceil(image[0].size / _MOST_VOXELS)
    for channel in image:
        values = channel[::every]
        figures += [float(value) for value in np.quantile(values, _QUANTILES)]
        deviation = max(float(values.std()), _SMALLEST)
        for axis in range(3):
            between = values if axis else channel
            few = np.diff(between, axis=axis)[:: 1 if axis else every] if channel.shape[axis] > 1 else np.zeros(1)
            figures.append(
                log(max(float(np.abs(few).mean()) / deviation, _SMALLEST)) if channel.shape[axis] > 1 else 0.0
            )
    return tuple(round(figure, 5) for figure in figures)
