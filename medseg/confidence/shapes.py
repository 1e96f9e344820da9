"""Measure the shape of each structure in a label map: size, parts, where it lies, and whether the scan cuts it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.confidence.measures import Point, Shape
from medseg.core.labels import Labels


def shapes_of(
    stored: NDArray, affine: NDArray, content: NDArray, labels: Labels, volumes: Mapping[str, float]
) -> dict[str, Shape]:
    """Return the shape of each structure.

    Args:
        stored: (z, y, x) label values on the grid of the scan.
        affine: 4x4, from (x, y, z) voxels of that grid to mm, RAS+.
        content: the part of the same label map where the scan has values, its axes in any order.
        labels: the structures.
        volumes: {structure: volume}.
    """
    return {
        name: _shape(_mask(stored, values), affine, _mask(content, values), volumes[name])
        for name, values in labels.members.items()
    }


def _mask(array: NDArray, values: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = array == values[0]
    for value in values[1:]:
        mask |= array == value
    return mask


def _shape(mask: NDArray[np.bool_], affine: NDArray, content: NDArray[np.bool_], volume: float) -> Shape:
    from scipy import ndimage

    box = ndimage.find_objects(mask.view(np.uint8))
    if not box:
        return Shape(0.0, 0, 0.0, 0.0, None)
    part = mask[box[0]]
    numbers, parts = ndimage.label(part, np.ones((3, 3, 3)))
    sizes = np.bincount(numbers.ravel())[1:]
    mean, covariance = _moments(part)
    start = np.array([box[0][axis].start for axis in (2, 1, 0)])
    centre = affine @ np.array([*(mean + start), 1.0])
    point: Point = (float(centre[0]), float(centre[1]), float(centre[2]))
    share = float(sizes.max() / sizes.sum())
    return Shape(
        volume, int(parts), share, cut_share(content), point, _tilt(affine[:3, :3] @ covariance @ affine[:3, :3].T)
    )


def _moments(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (x, y, z) of the voxels of a mask, and their covariance (3, 3), in voxels."""
    totals = {axes: mask.sum(axis=3 - sum(axes), dtype=np.float64) for axes in ((0, 1), (0, 2), (1, 2))}
    count, mean, covariance = float(mask.sum()), np.zeros(3), np.zeros((3, 3))
    lines = [totals[0, 1].sum(axis=1), totals[0, 1].sum(axis=0), totals[0, 2].sum(axis=0)]
    offsets = []
    for axis, line in enumerate(lines):
        where = np.arange(len(line), dtype=np.float64)
        mean[axis] = where @ line / count
        offsets.append(where - mean[axis])
        covariance[axis, axis] = offsets[axis] ** 2 @ line / count
    for (first, second), total in totals.items():
        covariance[first, second] = covariance[second, first] = offsets[first] @ total @ offsets[second] / count
    return mean[::-1], covariance[::-1, ::-1]


def _tilt(covariance: NDArray[np.float64]) -> tuple[float, float]:
    """Return the correlation of x with y and with z; 0 along an axis that has no width."""
    deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    xy, xz = (
        float(covariance[0, axis] / (deviations[0] * deviations[axis])) if min(deviations[[0, axis]]) > 1e-6 else 0.0
        for axis in (1, 2)
    )
    return xy, xz


def cut_share(content: NDArray[np.bool_]) -> float:
    """Return the largest share of an outermost plane in a structure, see `Shape.cut`.

    Args:
        content: (z, y, x) mask of the structure, on the part of the grid where the scan has values.

    >>> mask = np.zeros((1, 4, 5), bool)
    >>> mask[0, :2, 1:4] = True
    >>> cut_share(mask)  # its first row lies at the edge, and it is nowhere wider
    1.0
    """
    largest = 0.0
    for axis, size in enumerate(content.shape):
        if size < 2:
            continue
        areas = content.sum(axis=tuple({0, 1, 2} - {axis}))
        if areas.any():
            largest = max(largest, float(max(areas[0], areas[-1]) / areas.max()))
    return largest
