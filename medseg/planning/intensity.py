"""Intensity statistics of the foreground, in which every case weighs the same whatever its size.

nnU-Net v2 draws equally many random voxels from each case (`fingerprint_extractor.py`); this is the distribution
that it draws from: moments are exact, percentiles come from up to 10,000 order statistics per case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.plans.sections import Intensity

_ORDER_STATISTICS = 10_000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ChannelSample:
    """One channel of one case over its foreground."""

    mean: float
    variance: float
    minimum: float
    maximum: float
    sorted_values: NDArray


def sample_channel(values: NDArray) -> ChannelSample:
    """Summarize foreground intensities, of which there is at least one."""
    ordered = np.sort(values)
    picked = ordered
    if len(ordered) > _ORDER_STATISTICS:
        places = (np.arange(_ORDER_STATISTICS) + 0.5) / _ORDER_STATISTICS * len(ordered)
        picked = ordered[places.astype(np.int64)]
    return ChannelSample(
        mean=float(ordered.mean(dtype=np.float64)),
        variance=float(ordered.var(dtype=np.float64)),
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        sorted_values=picked,
    )


def pool_intensities(samples: Sequence[ChannelSample]) -> Intensity:
    """Statistics of one channel over all cases that have foreground."""
    means = np.array([sample.mean for sample in samples])
    within = np.mean([sample.variance for sample in samples])
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
    """The smallest values that at least this share of the total weight does not exceed; each group weighs the same."""
    values = np.concatenate(groups)
    weights = np.concatenate([np.full(len(group), 1 / len(group) / len(groups)) for group in groups])
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    places = np.searchsorted(share, np.asarray(percentiles) / 100 - _ROUNDING)
    return [float(value) for value in values[order[places]]]
