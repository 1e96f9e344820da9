"""Two figures on a channel that change their sign if it is inverted, bright for dark, whatever scale and offset it has.

Normalizations that take scale and offset from the scan hide both from other checks; an inverted scan looks to them like
any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from medseg.planning.sampled import step_between

_SAMPLED_PLACES = 4096
_FEWEST_PLACES = 100
"""Neighbourhoods in which something varies; fewer say nothing."""
_WIDTH = 3
"""Of a neighbourhood, in voxels, along each axis that has as many."""
_DIGITS = 4


def roughness(channel: NDArray) -> float | None:
    """Return the rank correlation of mean and standard deviation over small neighbourhoods, -1 to 1.

    It is positive where bright areas are rough and dark ones smooth, as with air around a body, and negative where
    bright areas are smooth, such as white matter. Neighbourhoods in which nothing varies do not count.

    Args:
        channel: (z, y, x).

    Returns:
        None if too little varies to say it.
    """
    widths = [min(_WIDTH, size) if size >= _WIDTH else 1 for size in channel.shape]
    inner = [size - width + 1 for size, width in zip(channel.shape, widths, strict=True)]
    places = np.arange(0, prod(inner), step_between(prod(inner), _SAMPLED_PLACES))  # numbered without the far borders
    rows, planes = places // inner[2], places // (inner[1] * inner[2])
    corners = places + (rows * (widths[2] - 1) + planes * (widths[1] - 1) * channel.shape[2])
    steps = np.asarray(np.ravel_multi_index(tuple(np.indices(widths).reshape(len(widths), -1)), channel.shape))
    values = np.ascontiguousarray(channel).reshape(-1).take(corners + steps[:, None])
    varied = values.min(axis=0) < values.max(axis=0)  # of the type that is stored: narrow ones take less time
    if np.count_nonzero(varied) < _FEWEST_PLACES:
        return None
    values = values.astype(np.float64)
    means = values.mean(axis=0)
    values -= means
    deviations = np.sqrt(np.square(values, out=values).mean(axis=0))
    bright, rough = _ranks(means[varied]), _ranks(deviations[varied])
    scale = (bright @ bright) * (rough @ rough)
    return round(float(bright @ rough / np.sqrt(scale)), _DIGITS) if scale else None


def asymmetry(quantiles: Sequence[float]) -> float:
    """Return where the median lies between the 5 and the 95 % quantile: 1 at the lower, 0 half way, -1 at the upper.

    Args:
        quantiles: the 5, 25, 50, 75 and 95 % quantiles of a channel.
    """
    low, _, middle, _, high = quantiles
    return round((high + low - 2 * middle) / (high - low), _DIGITS) if high > low else 0.0


def _ranks(values: NDArray) -> NDArray[np.float64]:
    """Return the rank of each value, 0 in the middle; equal ones share the middle of their ranks."""
    order = values.argsort()
    ordered = values[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    counts = np.diff(ends, prepend=0)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(ends - counts / 2 - len(values) / 2, counts)
    return ranks
