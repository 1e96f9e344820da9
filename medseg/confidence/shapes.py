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
    z, y, x = (
        float(np.average(np.arange(size), weights=part.sum(axis=tuple({0, 1, 2} - {axis})))) + start.start
        for axis, (size, start) in enumerate(zip(part.shape, box[0], strict=True))
    )
    centre = affine @ np.array([x, y, z, 1.0])
    point: Point = (float(centre[0]), float(centre[1]), float(centre[2]))
    return Shape(volume, int(parts), float(sizes.max() / sizes.sum()), cut_share(content), point)


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
