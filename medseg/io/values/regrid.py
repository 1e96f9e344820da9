"""A label map brought to the grid of its scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image

_ROUNDING = 1e-4  # voxels: nearer than this to the border of two, a place counts as on it, whatever rounding says


def resample_nearest(label: Image, grid: Image, outside: int) -> Image:
    """The value of `label` nearest to each voxel of `grid`, by their places in the world.

    Axes may be turned, oblique or sheared. A voxel takes the value of the label's voxel whose cell its centre lies in;
    exactly between two, that of the higher index.

    Args:
        label: (1, z, y, x) whole numbers.
        grid: the image that says where the answer lies.
        outside: the value of voxels that the label map does not cover.
    """
    to_label = np.linalg.inv(label.affine) @ grid.affine  # (x, y, z) indices of the grid to those of the label
    answer = np.full(grid.shape_zyx, outside, dtype=np.result_type(label.array.dtype, np.min_scalar_type(outside)))
    depth, height, width = grid.shape_zyx
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for z in range(depth):  # slice by slice, so that the places take little memory
        places = [_index(to_label[axis], x, y, z) for axis in (2, 1, 0)]
        inside = np.logical_and.reduce(
            [(place >= 0) & (place < size) for place, size in zip(places, label.shape_zyx, strict=True)]
        )
        answer[z][inside] = label.array[0][tuple(place[inside] for place in places)]
    return Image(answer[np.newaxis], grid.affine, grid.spacing_known)


def _index(row: NDArray[np.float64], x: NDArray[np.intp], y: NDArray[np.intp], z: int) -> NDArray[np.intp]:
    """Nearest index along one axis of the label."""
    place = row[0] * x + row[1] * y + (row[2] * z + row[3])
    return np.floor(place + 0.5 + _ROUNDING).astype(np.intp)
