"""Intensity statistics of the foreground, in which every case weighs the same whatever its size.

nnU-Net v2 draws equally many random voxels from each case (`dataset_fingerprint/fingerprint_extractor.py`). Here the
statistics are those of the distribution that it draws from: mean and deviation are exact, percentiles come from up to
10,000 order statistics of each case, and from fewer in large data sets, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.plans.sections.data import Intensity

_MOST_ORDER_STATISTICS = 10_000
"""Values kept of a case, so that a percentile is off by at most 0.01 % of the case's voxels."""
_FEWEST_ORDER_STATISTICS = 500
"""Values kept of a case of a large data set, at least: off by at most 0.2 % in a case, and less over many."""
_KEPT_VALUES = 8_000_000
"""Values kept of all cases and channels together: sorting those of a channel takes 40 bytes each."""
_ROUNDING = 1e-10
"""Slack for the rounding of the summed weights, so that the 50th percentile of two equal halves is the first half's.

Less than a weight, and more than the rounding, which depends on the order that a processor sorts equal values in."""


@dataclass(frozen=True)
class ChannelSample:
    """Summary of one channel of one case over its foreground.

    Attributes:
        mean: mean intensity.
        variance: variance of the intensities.
        minimum: smallest intensity.
        maximum: largest intensity.
        sorted_values: order statistics, evenly spread over the sorted intensities; all of them if they are few.
    """

    mean: float
    variance: float
    minimum: float
    maximum: float
    sorted_values: NDArray


def values_kept(cases: int, channels: int) -> int:
    """Return how many order statistics to keep of a channel of a case, in a data set of so many cases and channels.

    >>> values_kept(200, 1), values_kept(1251, 4), values_kept(10_000, 8)
    (10000, 1598, 500)
    """
    share = _KEPT_VALUES // max(cases * channels, 1)
    return min(max(share, _FEWEST_ORDER_STATISTICS), _MOST_ORDER_STATISTICS)


def sample_channel(values: NDArray, kept: int = _MOST_ORDER_STATISTICS) -> ChannelSample:
    """Return the summary of a foreground.

    Args:
        values: (voxels,) its intensities, of which there is at least one.
        kept: the most order statistics to keep.
    """
    ordered = np.sort(values)
    order_statistics = ordered
    if len(ordered) > kept:
        # the middle of each of so many equal pieces of the sorted values
        positions = (np.arange(kept) + 0.5) / kept * len(ordered)
        order_statistics = ordered[positions.astype(np.int64)]
    return ChannelSample(
        mean=float(ordered.mean(dtype=np.float64)),
        variance=float(ordered.var(dtype=np.float64)),
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        sorted_values=order_statistics,
    )


def pool_intensities(samples: Sequence[ChannelSample]) -> Intensity:
    """Return the statistics of one channel over all cases that have foreground, from the summary of each case."""
    means = np.array([sample.mean for sample in samples])
    within = np.mean([sample.variance for sample in samples])
    # law of total variance, below: the mean of the variances within cases plus the variance of the cases' means
    low, median, high = _weighted_percentiles([sample.sorted_values for sample in samples], [0.5, 50, 99.5])
    return Intensity(
        mean=float(means.mean()),
        median=median,
        std=float(np.sqrt(within + means.var())),
        min=min(sample.minimum for sample in samples),
        max=max(sample.maximum for sample in samples),
        percentile_00_5=low,
        percentile_99_5=high,
    )


def _weighted_percentiles(groups: Sequence[NDArray], percentiles: Sequence[float]) -> list[float]:
    """Return percentiles (0 to 100) of all values together, where each group weighs the same whatever its size.

    A percentile is the smallest value such that at least this share of the weight lies at or below it.
    """
    values = np.concatenate(groups)
    weights = np.repeat([1 / len(group) / len(groups) for group in groups], [len(group) for group in groups])
    order = np.argsort(values)  # equal values in any order: `_ROUNDING`
    share = np.cumsum(weights[order])
    positions = np.searchsorted(share, np.asarray(percentiles) / 100 - _ROUNDING)
    return [float(value) for value in values[order[positions]]]
