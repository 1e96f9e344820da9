"""Bring a label map to the grid of its scan: by resampling, or by turning and flipping its axes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
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

    Raises:
        DataError: neither says where its voxels lie, and they are of two sizes, which could fit in any way.
    """
    if not (label.spacing_known or grid.spacing_known) and label.shape_zyx != grid.shape_zyx:
        sizes = [" x ".join(map(str, image.shape_zyx)) for image in (label, grid)]
        raise DataError(
            f"A label map of {sizes[0]} pixels does not fit one of {sizes[1]}, and no file says how large a pixel is.",
            "Scale the label map to the size of the image it was drawn on.",
        )
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
    """Return the index, along one axis of the label map, of the voxel that is nearest to each voxel of a slice.

    Args:
        row: row of the 4x4 matrix from (x, y, z) indices of the grid to those of the label map.
        x: (y, x), column of each voxel of the slice.
        y: (y, x), row of each voxel.
        z: number of the slice.
    """
    position = row[0] * x + row[1] * y + (row[2] * z + row[3])
    return np.floor(position + 0.5 + _BORDER_VOXELS).astype(np.intp)


def stored_like(image: Image, grid: Image) -> Image:
    """Return an image with its axes in the order and direction of another one, if both are one grid but for these.

    Nothing is resampled: voxels only change their places in the array.

    Args:
        image: (channel, z, y, x).
        grid: an image of which only the grid counts.

    Returns:
        The image as it would be stored on `grid`; the image itself if the axes of the two are not parallel.
    """
    steps = np.linalg.inv(image.affine[:3, :3]) @ grid.affine[:3, :3]
    signs = np.rint(steps).astype(int)  # column: axis of the grid (x, y, z); row: axis of the image that runs along it
    if not np.array_equal(np.abs(signs) @ np.abs(signs).T, np.eye(3, dtype=int)):
        return image
    axes = np.abs(signs).argmax(axis=0)
    flipped = signs.sum(axis=0) < 0
    turned = np.eye(4)
    turned[:3, :3] = signs
    lengths = image.array.shape[:0:-1]  # x, y, z
    for axis, reverse in zip(axes, flipped, strict=True):
        turned[axis, 3] = lengths[axis] - 1 if reverse else 0
    array = image.array.transpose(0, *(3 - int(axes[number]) for number in (2, 1, 0)))
    array = array[(slice(None), *(slice(None, None, -1 if flipped[number] else 1) for number in (2, 1, 0)))]
    return replace(image, array=array, affine=image.affine @ turned)
