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
_PLACES_AT_ONCE = 1024
"""Their values stay in the processor's cache, and in memory that is not given back to the system in between."""
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
    flat = np.ascontiguousarray(channel).reshape(-1)
    blocks = np.array_split(corners, -(-len(corners) // _PLACES_AT_ONCE))
    bright, rough = map(np.concatenate, zip(*(_bright_and_rough(flat, block, steps) for block in blocks), strict=True))
    if len(bright) < _FEWEST_PLACES:
        return None
    bright, rough = _ranks(bright), _ranks(rough)
    if bright.min() == bright.max() or rough.min() == rough.max():
        return None
    bright, rough = bright - bright.mean(), rough - rough.mean()
    return round(float(bright @ rough / np.sqrt((bright @ bright) * (rough @ rough))), _DIGITS)


def asymmetry(quantiles: Sequence[float]) -> float:
    """Return where the median lies between the 5 and the 95 % quantile: 1 at the lower, 0 half way, -1 at the upper.

    Args:
        quantiles: the 5, 25, 50, 75 and 95 % quantiles of a channel.
    """
    low, _, middle, _, high = quantiles
    return round((high + low - 2 * middle) / (high - low), _DIGITS) if high > low else 0.0


def _bright_and_rough(flat: NDArray, corners: NDArray[np.intp], steps: NDArray[np.intp]) -> tuple[NDArray, NDArray]:
    """Return the mean and the standard deviation of those neighbourhoods in which something varies.

    Args:
        flat: the voxels of a channel in C order.
        corners: the first voxel of each neighbourhood.
        steps: how far its other voxels are behind it.
    """
    values = flat.take(corners + steps[:, None])
    varied = values.min(axis=0) < values.max(axis=0)  # of the type that is stored: narrow ones take less time
    values = values.astype(np.float64)
    means = values.mean(axis=0)
    values -= means
    np.square(values, out=values)
    return means[varied], np.sqrt(values.mean(axis=0))[varied]


def _ranks(values: NDArray) -> NDArray[np.float64]:
    """Return the rank of each value; equal ones share the middle of their ranks."""
    order = values.argsort()
    ordered = values[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    counts = np.diff(ends, prepend=0)
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(ends - (counts - 1) / 2, counts)
    return ranks
