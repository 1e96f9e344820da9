"""How far the structures of a label map extend and where they lie, from the runs of equal values along each axis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image, Orientation, nonzero_box
from medseg.planning.sampled import number_values

_AT_ONCE = 1 << 22
"""About so many voxels are looked at together: where nearly each is a run of its own, those of all take gigabytes."""


@dataclass(frozen=True)
class Extent:
    """The extent of the voxels of a label value.

    Attributes:
        runs: the longest run of such voxels along z, y and x, in voxels: what is thin has short ones along an axis.
        centre_x: the mean position from left to right, in mm (RAS+); in pixels if the spacing is unknown.
    """

    runs: tuple[int, int, int]
    centre_x: float


def extents(label: Image, foreground: NDArray[np.bool_], orientation: Orientation) -> dict[int, Extent]:
    """Return the extent of each value of a label map.

    Args:
        label: (1, z, y, x) whole numbers.
        foreground: (z, y, x) mask of the voxels that are a structure; values of others are left out.
        orientation: brings the axes of the file to those of the plan.

    >>> array = np.zeros((1, 2, 4, 5), np.uint8)
    >>> array[0, 1, 1:4, 2] = 7
    >>> extents(Image(array, np.eye(4)), array[0] != 0, Orientation())
    {7: Extent(runs=(1, 3, 1), centre_x=2.0)}
    """
    if not foreground.any():
        return {}
    box = nonzero_box(foreground[None])
    inside, marked = label.array[0][box], foreground[box]
    longest: defaultdict[int, list[int]] = defaultdict(lambda: [1, 1, 1])
    voxels: defaultdict[int, int] = defaultdict(int)
    positions: defaultdict[int, float] = defaultdict(float)
    # along an axis of one voxel, as in pictures, each voxel is a run of 1, and to list them all would take long
    axes_of_runs = [axis for axis in range(3) if inside.shape[axis] > 1] or [2]
    for axis in axes_of_runs:
        order = [*(other for other in range(3) if other != axis), axis]
        for start, shape, values, starts, lengths in _runs(inside.transpose(order), marked.transpose(order)):
            names, numbers = number_values(values)
            most = np.zeros(len(names), np.int64)
            np.maximum.at(most, numbers, lengths)
            for value, length in zip(names.tolist(), most.tolist(), strict=True):
                longest[value][axis] = max(longest[value][axis], length)
            if axis != axes_of_runs[-1]:
                continue
            firsts = np.stack(np.unravel_index(starts, shape), axis=1)
            origin = np.array([start, 0, 0]) + [box[other].start for other in order]
            middles = firsts + origin + np.outer(lengths - 1, (0, 0, 0.5))
            middle_x = middles @ label.affine[0, 2::-1][order]  # an affine has the order x, y, z
            counts, sums = (np.bincount(numbers, weights) for weights in (lengths, lengths * middle_x))
            for value, count, total in zip(names.tolist(), counts.tolist(), sums.tolist(), strict=True):
                voxels[value] += int(count)
                positions[value] += total
    return {
        value: Extent(
            orientation.permute((runs[0], runs[1], runs[2])),
            positions[value] / voxels[value] + float(label.affine[0, 3]),
        )
        for value, runs in longest.items()
    }


def _runs(
    array: NDArray, marked: NDArray[np.bool_]
) -> Iterator[tuple[int, tuple[int, ...], NDArray, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the runs of equal values along the last axis that are marked, some planes of the first axis at a time.

    Yields:
        Number of the first of these planes, their shape, and of each run its value, the index of its first voxel among
        all of these planes, and its length.
    """
    planes = max(1, _AT_ONCE // (array.shape[1] * array.shape[2]))
    for start in range(0, len(array), planes):
        block = np.ascontiguousarray(array[start : start + planes])
        flat = block.reshape(-1)
        begins = np.empty(flat.size, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:])
        begins[:: block.shape[2]] = True
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=flat.size)
        counted = np.ascontiguousarray(marked[start : start + planes]).reshape(-1)[starts]
        if counted.any():
            starts = starts[counted]
            yield start, block.shape, flat[starts], starts, lengths[counted]
