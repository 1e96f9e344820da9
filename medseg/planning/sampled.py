"""Choose evenly spread voxels of an array, and count their values."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

_LARGEST_TABLE = 1 << 16
"""Values of whole numbers that span no more are counted in a table, which is faster than sorting."""


def step_between(size: int, sampled: int) -> int:
    """Return the step between voxels of which about as many are to be sampled.

    It has no divisor in common with the number of voxels, so that they do not all lie in the same columns or slices.

    Args:
        size: number of voxels.
        sampled: about how many are wanted.
    """
    step = max(1, size // sampled)
    while gcd(step, size) > 1 and step > 1:
        step += 1
    return step


def count_values(values: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the different values in ascending order, and how often each occurs.

    Args:
        values: (count,) numbers, of which there is at least one.

    >>> [numbers.tolist() for numbers in count_values(np.array([7, -2, 7], np.int16))]
    [[-2, 7], [1, 2]]
    """
    if (low := _lowest_of_table(values)) is None:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values.astype(np.int64) - low)
    present = np.flatnonzero(counts)
    return (present + low).astype(values.dtype), counts[present]


def number_values(values: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the different values in ascending order, and for each element the index of its value among them.

    Args:
        values: (count,) numbers, of which there is at least one.

    >>> [numbers.tolist() for numbers in number_values(np.array([7, -2, 7], np.int16))]
    [[-2, 7], [1, 0, 1]]
    """
    if (low := _lowest_of_table(values)) is None:
        return np.unique(values, return_inverse=True)
    shifted = values.astype(np.int64) - low
    present = np.zeros(int(shifted.max()) + 1, bool)
    present[shifted] = True
    return (np.flatnonzero(present) + low).astype(values.dtype), (np.cumsum(present) - 1)[shifted]


def _lowest_of_table(values: NDArray) -> int | None:
    """Return the smallest of whole numbers that a table can hold; None for other values."""
    if values.dtype.kind not in "iu":
        return None
    low, high = int(values.min()), int(values.max())
    return low if high - low < _LARGEST_TABLE and high <= np.iinfo(np.int64).max else None
