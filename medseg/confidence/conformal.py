"""Intervals from residuals of cases that a fit did not see (Vovk et al. 2005, Algorithmic Learning in a Random World).

Whatever the fit is worth, an interval from the quantiles of such residuals holds the truth in the stated share of
cases, if new cases are like those: the only assumption.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.9


def residual_bounds(residuals: Sequence[float] | NDArray, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Return the residuals that bound the middle share, corrected for their finite number.

    Args:
        residuals: truth minus prediction.
        confidence: which share lies between.

    Returns:
        None where there are too few: a new residual lies between the least and the largest of n with a probability of
        (n - 1) / (n + 1), which is 0.9 from n = 19 on.

    >>> residual_bounds([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 0.6)
    (1.0, 7.0)
    >>> residual_bounds([0.0] * 18) is None, residual_bounds([0.0] * 19)
    (True, (0.0, 0.0))
    """
    # a new residual falls into each of the n + 1 gaps between n ordered ones with equal probability;
    # products are rounded, as 20 * 0.05 may be a little more or less than 1, which floor and ceil would make a step of
    ordered = np.sort(np.asarray(residuals, np.float64))
    count, tail = len(ordered), (1 - confidence) / 2
    if round((count - 1) - confidence * (count + 1), 9) < 0:
        return None
    low = max(floor(round((count + 1) * tail, 9)), 1)
    high = min(ceil(round((count + 1) * (1 - tail), 9)), count)
    return float(ordered[low - 1]), float(ordered[high - 1])


def coverage(residuals: Sequence[float], groups: Sequence[str], confidence: float = CONFIDENCE) -> float | None:
    """Return the share of residuals within the bounds that the other groups give; None if these are too few for bounds.

    Args:
        residuals: truth minus prediction.
        groups: of each.
        confidence: as in `residual_bounds`.
    """
    values, group_of = np.asarray(residuals, np.float64), np.asarray(groups)
    inside = 0
    for group in sorted({*groups}):
        bounds = residual_bounds(values[group_of != group], confidence)
        if bounds is None:
            return None
        low, high = bounds
        inside += int(((values[group_of == group] >= low) & (values[group_of == group] <= high)).sum())
    return inside / len(values) if len(values) else None
