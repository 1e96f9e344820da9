"""Recognize soft masks of whole numbers: edges that were smoothed, interpolated or blurred by JPEG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# What the thresholds mean stands in `is_soft`.
_FEWEST_VALUES = 4
_FEWEST_VOXELS = 20
_MOST_SLICES = 16
_MOST_INTERIOR = 0.2
_LEAST_BETWEEN = 0.6
_EXTREMES, _THIN_TO_SOLID = 2, 2


def is_soft(array: NDArray[np.integer]) -> bool:
    """Return whether the values between the smallest and the largest are transitions, not structures.

    Structures have an interior: voxels surrounded by equal ones. The values of a smoothed edge have none, and lie
    between a smaller and a larger neighbour. A mask is soft if, on up to 16 of its slices, at most a fifth of the
    voxels between the extremes equal their four neighbours, and at least three fifths lie between two of their eight
    neighbours. Fewer than four values, or fewer than 20 such voxels, are never soft: a trimap is not a blur.

    Where several structures were interpolated, those between the extremes have an interior. Values without one then
    are looked at alone, if there are four or more, and twice as many as values with one.

    Args:
        array: (..., y, x) whole numbers; only their order counts.
    """
    slices = array.reshape(-1, *array.shape[-2:])
    low, high = array.min(initial=0), array.max(initial=0)
    inside = (slices > low) & (slices < high)
    holding = np.flatnonzero(inside.any(axis=(1, 2)))
    chosen = holding[np.linspace(0, holding.size - 1, min(holding.size, _MOST_SLICES)).astype(int)]
    slices, inside = slices[chosen], inside[chosen]
    if inside.sum() < _FEWEST_VOXELS or np.unique(slices).size < _FEWEST_VALUES:
        return False
    if float(interior(slices)[inside].mean()) > _MOST_INTERIOR:
        inside[inside] = _of_thin_values(slices[inside], interior(slices)[inside])
        if inside.sum() < _FEWEST_VOXELS:
            return False
    neighbours = [_shifted(slices, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    below = np.any([other < slices for other in neighbours], axis=0)
    above = np.any([other > slices for other in neighbours], axis=0)
    return float((below & above)[inside].mean()) >= _LEAST_BETWEEN


def _of_thin_values(voxels: NDArray, are_interior: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which voxels have a value without an interior; none if such values are not the rule.

    Args:
        voxels: the values of the voxels between the extremes.
        are_interior: for each, whether it equals its neighbours.
    """
    _, numbers, counts = np.unique(voxels, return_inverse=True, return_counts=True)
    is_thin = np.bincount(numbers, are_interior) <= _MOST_INTERIOR * counts
    thin, solid = int(is_thin.sum()), int((~is_thin).sum()) + _EXTREMES
    is_thin &= _FEWEST_VALUES <= thin >= _THIN_TO_SOLID * solid
    return is_thin[numbers]


def interior(array: NDArray) -> NDArray[np.bool_]:
    """Return which pixels (..., y, x) equal their four neighbours in the slice; beyond the border all are equal."""
    slices = array.reshape(-1, *array.shape[-2:])
    sides = ((0, 1), (0, -1), (1, 0), (-1, 0))
    return np.all([_shifted(slices, *side) == slices for side in sides], axis=0).reshape(array.shape)


def _shifted(slices: NDArray, down: int, right: int) -> NDArray:
    """Return the neighbour of each pixel (slice, y, x); beyond the border, the pixel itself."""
    framed = np.pad(slices, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = slices.shape[1:]
    return framed[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
