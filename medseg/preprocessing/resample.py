"""Resampling along the axes of the grid, equal to nnU-Net's within float32 rounding.

nnU-Net resizes with skimage (`mode='edge'`, no anti-aliasing), that is `scipy.ndimage.zoom` in grid mode. On
the axes of a grid a spline of any order is separable, so one small matrix per axis does the same work. The
matrices are scipy's own answer to unit vectors: equality holds by construction, boundaries included.
Source of the rules: nnU-Net v2, `default_resampling.py`.
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
"""Slices further apart than this many times the finest spacing are resampled apart."""

_HALF = 0.5 - 1e-9
"""One half, less what rounding may take away."""


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Voxels per axis after resampling from `spacing` to `target` (both mm); at least one."""
    return tuple(max(1, round(old / new * n)) for old, new, n in zip(spacing, target, shape, strict=True))


def separate_axis(spacing: Sequence[float], target: Sequence[float], setting: bool | None) -> int | None:
    """The axis whose slices are resampled apart, or None.

    The current spacing decides, else the target's; `setting` True or False settles it beforehand.
    Two equally coarse axes leave no single slice direction.
    """
    if setting is False:
        return None
    for candidate in (spacing, target):
        if setting or max(candidate) / min(candidate) > ANISOTROPY_THRESHOLD:
            coarsest = [axis for axis, value in enumerate(candidate) if value == max(candidate)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resample_image(image: torch.Tensor, shape: Sequence[int], how: Resampling, axis: int | None = None) -> torch.Tensor:
    """Resample (channel, z, y, x) floating-point data to `shape`; slices along `axis` apart.

    Splines of order 2 and more overshoot at edges: like skimage, the answer is clipped to the range of what
    was resampled as one piece, a channel or, where slices are apart, a slice.
    """
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    order = how.order if axis is None else how.order_across
    result = image
    for place in range(3):
        if place != axis:
            result = _along(result, place, shape[place], how.order)
    if how.order > 1:
        within = [1 + place for place in range(3) if place != axis]
        result = torch.minimum(result, image.amax(within, keepdim=True))
        result = torch.maximum(result, image.amin(within, keepdim=True))
    return result if axis is None else _along(result, axis, shape[axis], order)


def resample_label(
    label: NDArray[np.int16], shape: Sequence[int], how: Resampling, axis: int | None
) -> NDArray[np.int16]:
    """Resample (z, y, x) label indices to `shape`: each value's mask apart, at least one half wins.

    Where several masks reach one half the higher value wins, and `IGNORE` before all; where none does, background.
    A mask is resampled only from the box around its value and to where that reaches, as it is zero elsewhere.
    """
    if label.shape == tuple(shape):
        return label
    in_plane = [n if place != axis else label.shape[place] for place, n in enumerate(shape)]
    result = np.zeros(in_plane, dtype=label.dtype)
    from scipy import ndimage

    lowest = int(label.min())
    boxes = enumerate(ndimage.find_objects(label.astype(np.int32) - lowest + 1), start=lowest)
    found = [(value, box) for value, box in boxes if box is not None and (value != 0 or lowest < 0)]
    for value, box in sorted(found, key=lambda one: (one[0] == IGNORE, one[0])):
        part = torch.from_numpy((label[box] == value)[None].astype(np.float64))
        reached = []
        for place, (inside, size) in enumerate(zip(box, in_plane, strict=True)):
            if label.shape[place] == size:
                reached.append(inside)
                continue
            matrix = spline_matrix(label.shape[place], size, how.order)[:, inside]
            rows = matrix.any(1).nonzero()[:, 0].tolist()
            reached.append(slice(rows[0], rows[-1] + 1) if rows else slice(0))
            part = torch.tensordot(matrix[reached[-1]], part, dims=([1], [place + 1])).movedim(0, place + 1)
        result[tuple(reached)][part[0].numpy() >= _HALF] = value
    if axis is not None:
        result = np.take(result, nearest_voxels(label.shape[axis], shape[axis]).numpy(), axis=axis)
    return result


def _along(data: torch.Tensor, axis: int, size: int, order: int) -> torch.Tensor:
    """(channel, z, y, x) with `size` voxels along one axis."""
    present = data.shape[axis + 1]
    if present == size:
        return data
    if order == 0:
        return data.index_select(axis + 1, nearest_voxels(present, size).to(data.device))
    matrix = spline_matrix(present, size, order).to(data)
    return torch.tensordot(matrix, data, dims=([1], [axis + 1])).movedim(0, axis + 1)


@lru_cache(maxsize=16)
def spline_matrix(present: int, size: int, order: int) -> torch.Tensor:
    """(size, present) float64 matrix that resizes a line of voxels."""
    unit = np.eye(present)
    if order == 0:
        return torch.from_numpy(unit[nearest_voxels(present, size).numpy()])
    from scipy import ndimage  # takes 0.3 s to import, and a scan on the network's grid already does without

    lines = [ndimage.zoom(row, size / present, order=order, mode="nearest", grid_mode=True) for row in unit]
    return torch.from_numpy(np.stack(lines, axis=1))


@lru_cache(maxsize=512)
def nearest_voxels(present: int, size: int) -> torch.Tensor:
    """Index of the nearest of `present` voxels for each of `size`, ties upward as in `scipy.ndimage`."""
    position = present / size * (np.arange(size) + 0.5) - 0.5
    return torch.from_numpy(np.clip(np.floor(position + 0.5), 0, present - 1).astype(np.int64))
