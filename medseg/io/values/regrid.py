"""Resample a label map to the grid of its scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image

_BORDER_VOXELS = 1e-4  # a point nearer than this to the border of two voxels counts as on it: rounding must not decide


def resample_nearest(label: Image, grid: Image, outside: int) -> Image:
    """Resample a label map by nearest neighbour.

    Axes may be turned, oblique or sheared. A voxel takes the value of the label's voxel in whose cell its centre lies;
    exactly between two, that of the higher index.

    Args:
        label: (1, z, y, x) whole numbers.
        grid: an image on the grid of the result.
        outside: the value of voxels that the label map does not cover.

    Returns:
        (1, z, y, x) on the grid.
    """
    to_label = np.linalg.inv(label.affine) @ grid.affine  # (x, y, z) indices of the grid to those of the label
    resampled = np.full(grid.shape_zyx, outside, dtype=np.result_type(label.array.dtype, np.min_scalar_type(outside)))
    depth, height, width = grid.shape_zyx
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for z in range(depth):  # slice by slice, so that the indices take little memory
        indices = [_index(to_label[axis], x, y, z) for axis in (2, 1, 0)]
        inside = np.logical_and.reduce(
            [(index >= 0) & (index < size) for index, size in zip(indices, label.shape_zyx, strict=True)]
        )
        resampled[z][inside] = label.array[0][tuple(index[inside] for index in indices)]
    return Image(resampled[np.newaxis], grid.affine, grid.spacing_known)


def _index(row: NDArray[np.float64], x: NDArray[np.intp], y: NDArray[np.intp], z: int) -> NDArray[np.intp]:
    """Return the nearest index along one axis of the label for voxels of the grid."""
    position = row[0] * x + row[1] * y + (row[2] * z + row[3])
    return np.floor(position + 0.5 + _BORDER_VOXELS).astype(np.intp)
