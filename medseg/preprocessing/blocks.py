"""A channel to the network's grid block by block: read, normalized and resampled while it lies in the CPU's cache.

The result equals `resample_image` of the whole within float32 rounding, but the scan in its full resolution never
exists as floating point. A spline's matrix is nearly empty: with every voxel a cubic spline's weights fall to 0.27 of
the one before. So products of sparse matrices do a tenth of the work of dense ones, and in one thread: preprocessing
can run beside a network without disturbing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.plans.schema import Resampling
from medseg.preprocessing.resample import nearest_voxels, spline_matrix

Box = tuple[slice, slice, slice]
Read = Callable[[Box], NDArray[np.float32]]
"""Reads a box (z, y, x) of a channel, as a new array that the caller may change."""

_BLOCK_VOXELS = 1 << 19  # 2 MB of float32: a block and what is made of it stay in the cache
_SMALLEST_WEIGHT = 1e-9  # weights of a spline below this are left out: less than the rounding of float32, 6e-8


def resample_blocks(
    read: Read, present: Sequence[int], out: NDArray[np.float32], how: Resampling, axis: int | None
) -> None:
    """Resample a channel into `out`.

    The axis that shrinks least comes last, so that the products before it have made the data small; blocks are cut
    across it.

    Args:
        read: reads boxes of the channel.
        present: voxels (z, y, x) of the channel.
        out: (z, y, x) array that is filled.
        how: orders of the splines.
        axis: the axis whose slices are resampled separately; None for none.
    """
    shape = out.shape
    ratio = [new / old for old, new in zip(present, shape, strict=True)]
    last = int(np.argmax(ratio)) if axis is None else axis
    first = sorted({0, 1, 2} - {last}, key=lambda dimension: ratio[dimension])
    within = tuple(dimension for dimension in range(3) if dimension != axis)
    direct = shape[last] == present[last]
    result = out if direct else np.empty([present[n] if n == last else shape[n] for n in range(3)], dtype=np.float32)
    # Splines of order 2 and more overshoot at edges, and are clipped to the range of what is resampled as one piece: of
    # each slice at once where slices are separate, else of the whole channel, which is known only after the last block.
    low, high = np.float32(np.inf), np.float32(-np.inf)
    needed = range(present[last]) if axis is None or how.order_across > 0 else _nearest_of(present[last], shape[last])
    for box in _blocks(present, last, needed):
        block = read(box)
        least, most = (block.min(within, keepdims=True), block.max(within, keepdims=True)) if how.order > 1 else (0, 0)
        for dimension in first:
            block = along(block, dimension, shape[dimension], how.order)
        target = result[tuple(part if dimension == last else slice(None) for dimension, part in enumerate(box))]
        if how.order > 1 and axis is not None:
            np.clip(block, least, most, out=target)
        else:
            target[...] = block
            low, high = np.minimum(low, np.min(least)), np.maximum(high, np.max(most))
    if not direct:
        other = 1 if last == 0 else 0
        for box in _blocks(result.shape, other, range(result.shape[other])):
            target_box = tuple(slice(None) if dimension == last else part for dimension, part in enumerate(box))
            out[target_box] = along(result[box], last, shape[last], how.order if axis is None else how.order_across)
    if how.order > 1 and axis is None and tuple(present) != shape:
        np.clip(out, low, high, out=out)


def along(block: NDArray[np.float32], axis: int, size: int, order: int) -> NDArray[np.float32]:
    """Return data (z, y, x) with `size` voxels along one axis.

    Args:
        block: (z, y, x) values.
        axis: to resample along.
        size: voxels afterwards.
        order: the order of the spline.
    """
    present = block.shape[axis]
    if present == size:
        return block
    if order == 0:
        return np.take(block, nearest_voxels(present, size).numpy(), axis=axis)
    turned = np.moveaxis(block, axis, 0)
    product = _sparse(present, size, order) @ turned.reshape(present, -1)
    return np.moveaxis(product.reshape(size, *turned.shape[1:]), 0, axis)


@lru_cache(maxsize=64)
def _sparse(present: int, size: int, order: int) -> Any:
    """Return the matrix (size, present) that resizes a line of voxels, as `scipy.sparse.csr_matrix` of float32."""
    from scipy.sparse import csr_matrix

    dense = spline_matrix(present, size, order).numpy()
    return csr_matrix(np.where(np.abs(dense) > _SMALLEST_WEIGHT, dense, 0).astype(np.float32))


def _nearest_of(present: int, size: int) -> Sequence[int]:
    """Return the slices that are the nearest one of a new slice; no other is needed with order 0."""
    return np.unique(nearest_voxels(present, size).numpy()).tolist()


def _blocks(shape: Sequence[int], axis: int, needed: Sequence[int]) -> Iterator[Box]:
    """Yield boxes of about `_BLOCK_VOXELS` voxels that cover the needed slices along `axis`."""
    depth = max(1, _BLOCK_VOXELS * shape[axis] // max(1, shape[0] * shape[1] * shape[2]))
    start = 0
    while start < len(needed):
        stop = start + 1
        while stop < min(start + depth, len(needed)) and needed[stop] == needed[stop - 1] + 1:
            stop += 1
        z, y, x = (slice(needed[start], needed[stop - 1] + 1) if n == axis else slice(0, shape[n]) for n in range(3))
        yield z, y, x
        start = stop
