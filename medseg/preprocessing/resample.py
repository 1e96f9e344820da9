"""Resampling along the axes of the grid, equal to nnU-Net's within float32 rounding.

nnU-Net resizes with skimage (`mode='edge'`, no anti-aliasing), that is `scipy.ndimage.zoom` in grid mode. On
the axes of a grid a spline of any order is separable, so one small matrix per axis does the same work. The
matrices are what scipy makes of unit vectors: equality holds by construction, boundaries included.
Source of the rules: nnU-Net v2, `default_resampling.py`. `blocks` does the same for images, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import IGNORE
from medseg.plans.schema import Resampling

ANISOTROPY_THRESHOLD = 3.0
"""Slices further apart than this many times the finest spacing are resampled separately; nnU-Net's."""

_HALF = 0.5 - 1e-9
"""One half, less the rounding error of a sum of weights."""


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Return the voxels per axis after resampling, at least one.

    >>> resampled_shape((10, 100, 100), (5.0, 0.8, 0.8), (2.5, 1.0, 1.0))
    (20, 80, 80)

    Args:
        shape: voxels (z, y, x).
        spacing: mm of that grid (z, y, x).
        target: mm of the new grid (z, y, x).
    """
    return tuple(max(1, round(old / new * n)) for old, new, n in zip(spacing, target, shape, strict=True))


def separate_axis(spacing: Sequence[float], target: Sequence[float], setting: bool | None) -> int | None:
    """Return the axis whose slices are resampled separately, or None.

    It is the coarsest axis of the current spacing if that is anisotropic, else of the target's. If two axes are equally
    coarse there is no slice direction.

    Args:
        spacing: mm of the grid that is there (z, y, x).
        target: mm of the new grid (z, y, x).
        setting: the plan's: True and False decide regardless of anisotropy; None leaves it to the spacing.
    """
    if setting is False:
        return None
    for candidate in (spacing, target):
        if setting or max(candidate) / min(candidate) > ANISOTROPY_THRESHOLD:
            coarsest = [axis for axis, value in enumerate(candidate) if value == max(candidate)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resample_image(image: torch.Tensor, shape: Sequence[int], how: Resampling, axis: int | None = None) -> torch.Tensor:
    """Return an image resampled to another grid.

    Splines of order 2 and more overshoot at edges: as in skimage, the result is clipped to the range of what was
    resampled as one piece, a channel or, if slices are separate, a slice.

    Args:
        image: (channel, z, y, x) floating-point data.
        shape: voxels (z, y, x) of the new grid.
        how: orders of the splines.
        axis: the axis whose slices are resampled separately; None for none.
    """
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    order = how.order if axis is None else how.order_across
    result = image
    for dimension in range(3):
        if dimension != axis:
            result = _along(result, dimension, shape[dimension], how.order)
    if how.order > 1:
        within = [1 + dimension for dimension in range(3) if dimension != axis]
        result = torch.minimum(result, image.amax(within, keepdim=True))
        result = torch.maximum(result, image.amin(within, keepdim=True))
    return result if axis is None else _along(result, axis, shape[axis], order)


def resample_label(
    label: NDArray[np.int16], shape: Sequence[int], how: Resampling, axis: int | None
) -> NDArray[np.int16]:
    """Return a label map resampled to another grid.

    The mask of each value is resampled by itself, and a voxel gets the value whose mask is at least one half there. If
    several masks reach one half the highest value wins, and `IGNORE` over all; if none does, it is background.

    A mask is resampled only from the box around its value and to where that box reaches, as it is zero elsewhere.

    Args:
        label: (z, y, x) label indices.
        shape: voxels (z, y, x) of the new grid.
        how: orders of the splines.
        axis: the axis whose slices are resampled separately; None for none.
    """
    from scipy import ndimage

    if label.shape == tuple(shape):
        return label
    in_plane = [size if dimension != axis else label.shape[dimension] for dimension, size in enumerate(shape)]
    result = np.zeros(in_plane, dtype=label.dtype)
    lowest = int(label.min())  # find_objects numbers values from 1, so negative ones are shifted up
    boxes = enumerate(ndimage.find_objects(label.astype(np.int32) - lowest + 1), start=lowest)
    # the background needs no mask of its own, except beside negative values, which it may win against
    values = [(value, box) for value, box in boxes if box is not None and (value != 0 or lowest < 0)]
    for value, box in sorted(values, key=lambda item: (item[0] == IGNORE, item[0])):
        mask = torch.from_numpy((label[box] == value)[None].astype(np.float64))
        reached = []
        for dimension, (inside, size) in enumerate(zip(box, in_plane, strict=True)):
            if label.shape[dimension] == size:
                reached.append(inside)
                continue
            matrix = spline_matrix(label.shape[dimension], size, how.order)[:, inside]
            rows = matrix.any(1).nonzero()[:, 0].tolist()
            reached.append(slice(rows[0], rows[-1] + 1) if rows else slice(0))
            mask = torch.tensordot(matrix[reached[-1]], mask, dims=([1], [dimension + 1])).movedim(0, dimension + 1)
        result[tuple(reached)][mask[0].numpy() >= _HALF] = value
    if axis is not None:
        result = np.take(result, nearest_voxels(label.shape[axis], shape[axis]).numpy(), axis=axis)
    return result


def _along(data: torch.Tensor, axis: int, size: int, order: int) -> torch.Tensor:
    """Return data (channel, z, y, x) with `size` voxels along one axis."""
    present = data.shape[axis + 1]
    if present == size:
        return data
    if order == 0:
        return data.index_select(axis + 1, nearest_voxels(present, size).to(data.device))
    matrix = spline_matrix(present, size, order).to(data)
    return torch.tensordot(matrix, data, dims=([1], [axis + 1])).movedim(0, axis + 1)


@lru_cache(maxsize=16)
def spline_matrix(present: int, size: int, order: int) -> torch.Tensor:
    """Return the (size, present) float64 matrix that resizes a line of voxels.

    Args:
        present: voxels of the line.
        size: voxels of the new line.
        order: the order of the spline.
    """
    unit = np.eye(present)
    if order == 0:
        return torch.from_numpy(unit[nearest_voxels(present, size).numpy()])
    from scipy import ndimage  # takes 0.3 s to import, and a scan on the network's grid already does without

    lines = [ndimage.zoom(row, size / present, order=order, mode="nearest", grid_mode=True) for row in unit]
    return torch.from_numpy(np.stack(lines, axis=1))


@lru_cache(maxsize=512)
def nearest_voxels(present: int, size: int) -> torch.Tensor:
    """Return the index of the nearest of `present` voxels for each of `size`; ties go up, as in `scipy.ndimage`.

    >>> nearest_voxels(2, 3).tolist()
    [0, 1, 1]
    """
    position = present / size * (np.arange(size) + 0.5) - 0.5
    return torch.from_numpy(np.clip(np.floor(position + 0.5), 0, present - 1).astype(np.int64))
