"""Objects in label maps: number them, mark their boundaries for training, and grow them back over boundaries.

A network that only knows a structure joins objects that touch. One that also knows their boundary leaves a gap between
them: what lies inside are seeds, which are grown over the boundary, all by a voxel at a time (a watershed of distance).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray


def number_objects(
    labels: NDArray[np.integer], values: Collection[int], boundaries: Mapping[int, int] | None = None
) -> NDArray[np.int32]:
    """Give each object of a label map a number, from 1, structure by structure.

    An object is a group of voxels of one structure that touch at faces, edges or corners. Where the structure has a
    boundary, objects are what touches at faces inside of it, grown over the boundary.

    Args:
        labels: (z, y, x) or (y, x) label values.
        values: those of the structures.
        boundaries: {value of a structure: value of its boundary}.

    Returns:
        The number of the object that each voxel belongs to, in the shape of `labels`; 0 for none.

    >>> number_objects(np.array([[1, 1, 0, 1, 2]]), [1, 2]).tolist()
    [[1, 1, 0, 2, 3]]
    >>> number_objects(np.array([[2, 1, 2, 2, 1, 1]]), [1], {1: 2}).tolist()
    [[1, 1, 1, 2, 2, 2]]
    """
    boundaries = boundaries or {}
    numbers = np.zeros(labels.shape, np.int32)
    count = 0
    for value in sorted({*values} - {*boundaries.values()}):
        inside, boundary = labels == value, labels == boundaries.get(value, value)
        objects = _grown(inside, boundary & ~inside) if value in boundaries else _components(inside)
        numbers[objects > 0] = objects[objects > 0] + count
        count += int(objects.max(initial=0))
    return numbers


def mark_boundaries(
    labels: NDArray[np.integer], numbers: NDArray[np.integer], boundaries: Mapping[int, int]
) -> NDArray[np.integer]:
    """Return a label map in which the outermost voxels of each object have the value of the boundary.

    Outermost are voxels with a neighbour, also at an edge or corner, that is not of their object. Objects too thin to
    have any other voxels stay as they are, since they would be lost.

    Args:
        labels: (z, y, x) label values.
        numbers: the number of the object that each voxel belongs to; 0 for none.
        boundaries: {value of a structure: value of its boundary}.

    >>> row = np.array([[[1, 1, 1, 1, 1, 1, 0, 1]]])
    >>> mark_boundaries(row, np.array([[[1, 1, 1, 2, 2, 2, 0, 3]]]), {1: 9}).tolist()
    [[[1, 1, 9, 9, 1, 9, 0, 1]]]
    """
    from scipy import ndimage

    # beyond the border of the image lies what lies at it ("nearest"): the border is no boundary
    largest = ndimage.maximum_filter(numbers, size=3, mode="nearest")
    outer = (largest != ndimage.minimum_filter(numbers, size=3, mode="nearest")) & (numbers > 0)
    inner_voxels = np.bincount(numbers[~outer].ravel(), minlength=int(numbers.max(initial=0)) + 1)
    outer &= inner_voxels[numbers] > 0
    highest = max([int(labels.max(initial=0)), *boundaries.values()])
    marked = labels.astype(np.result_type(labels.dtype, np.min_scalar_type(highest)))
    for value, boundary in boundaries.items():
        marked[outer & (labels == value)] = boundary
    return marked


def _components(mask: NDArray[np.bool_], corners: bool = True) -> NDArray[np.int32]:
    """Return the number of the group of touching voxels that each voxel belongs to; 0 for none."""
    from scipy import ndimage

    touching = ndimage.generate_binary_structure(mask.ndim, mask.ndim if corners else 1)
    numbers: NDArray[np.int32] = ndimage.label(mask, touching, output=np.int32)[0]
    return numbers


def _grown(inside: NDArray[np.bool_], boundary: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the objects of a structure: those inside, each with the boundary that is nearest to it.

    Boundary that reaches no inside is an object, too: a structure so thin that the network calls all of it boundary.
    """
    from scipy import ndimage

    mask = inside | boundary
    numbers = np.zeros(mask.shape, np.int32)
    boxes = ndimage.find_objects(mask.astype(np.int8))
    if not boxes:
        return numbers
    box = boxes[0]
    objects, mask = _components(inside[box], corners=False), mask[box]
    # also over corners: single voxels of boundary at the corner of an object belong to it
    touching = ndimage.generate_binary_structure(mask.ndim, mask.ndim)
    while True:  # as many rounds as the boundary is thick
        free = mask & (objects == 0)
        grown = np.where(free, ndimage.maximum_filter(objects, footprint=touching), objects)
        if np.array_equal(grown, objects):
            break
        objects = grown
    thin = _components(free)
    objects[thin > 0] = thin[thin > 0] + int(objects.max(initial=0))
    numbers[box] = objects
    return numbers
