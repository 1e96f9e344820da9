"""Rotated and scaled patches straight from a volume, in loops that numba compiles for a CPU; imported where needed.

The results are those of `resample_patches`, without boxes. Along each row of a patch most points lie between the first
and the last voxels of the volume and need no check of its borders: an upper neighbour beyond them has the weight zero.

`around` are the eight voxels around a point in the order of z, y and x, `parts` the position of the point between them
(0 to 1 along each axis).
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.machine.compiling import compiled
from medseg.training.data.resample_patch import TIE

HALF = 0.5 + TIE
"""A label with more weight than this has won the vote."""


@compiled
def _between(around: Any, parts: Any) -> Any:
    """Interpolate eight numbers linearly."""
    a, b, c, d, e, f, g, h = around
    dz, dy, dx = parts
    front, back = a + dx * (b - a), c + dx * (d - c)
    low = front + dy * (back - front)
    front, back = e + dx * (f - e), g + dx * (h - g)
    return low + dz * (front + dy * (back - front) - low)


@compiled
def _votes(label: int, around: Any, parts: Any) -> Any:
    """Return the weight of all voxels that have this label: its map of ones and zeros, interpolated."""
    a, b, c, d, e, f, g, h = around
    yes, no = np.float32(1), np.float32(0)
    return _between(
        (
            yes if a == label else no,
            yes if b == label else no,
            yes if c == label else no,
            yes if d == label else no,
            yes if e == label else no,
            yes if f == label else no,
            yes if g == label else no,
            yes if h == label else no,
        ),
        parts,
    )


@compiled
def _winner(around: Any, parts: Any) -> Any:
    """Return the label with the largest weight; that of the nearest voxel if none has more."""
    first, last = around[0], around[7]
    if _votes(first, around, parts) > HALF:  # most often two labels meet, and opposite corners differ
        return first
    if _votes(last, around, parts) > HALF:
        return last
    dz, dy, dx = parts
    nearest = 4 * (dz > HALF) + 2 * (dy > HALF) + (dx > HALF)
    winner, most = around[nearest], _votes(around[nearest], around, parts) + TIE
    for label in around:
        votes = _votes(label, around, parts)
        if votes > most:
            winner, most = label, votes
    return winner


@compiled
def _around(volume: NDArray, z0: int, y0: int, x0: int, beyond: Any) -> Any:
    """Return the eight voxels from (z0, y0, x0) on, some of which may lie beyond the volume."""
    depth, rows, columns = volume.shape
    z1, y1, x1 = z0 + 1, y0 + 1, x0 + 1
    up, above, left = 0 <= z0 < depth, 0 <= y0 < rows, 0 <= x0 < columns
    down, below, right = 0 <= z1 < depth, 0 <= y1 < rows, 0 <= x1 < columns
    return (
        volume[z0, y0, x0] if up and above and left else beyond,
        volume[z0, y0, x1] if up and above and right else beyond,
        volume[z0, y1, x0] if up and below and left else beyond,
        volume[z0, y1, x1] if up and below and right else beyond,
        volume[z1, y0, x0] if down and above and left else beyond,
        volume[z1, y0, x1] if down and above and right else beyond,
        volume[z1, y1, x0] if down and below and left else beyond,
        volume[z1, y1, x1] if down and below and right else beyond,
    )


@compiled
def _around_inside(flat: NDArray, shape: Any, z0: int, y0: int, x0: int) -> Any:
    """Return the eight voxels from (z0, y0, x0) on, which lies in the volume; neighbours beyond repeat the border."""
    depth, rows, columns = shape
    base = np.uintp((z0 * rows + y0) * columns + x0)
    right = np.uintp(1 if x0 < columns - 1 else 0)
    down = np.uintp(columns if y0 < rows - 1 else 0)
    deep = base + np.uintp(rows * columns if z0 < depth - 1 else 0)
    return (
        flat[base],
        flat[base + right],
        flat[base + down],
        flat[base + down + right],
        flat[deep],
        flat[deep + right],
        flat[deep + down],
        flat[deep + down + right],
    )


@compiled
def _run(starts: Any, steps: Any, shape: Any, count: int) -> Any:
    """Return (first, stop): which of `count` points of a row lie between the first and the last voxels of a volume."""
    first, stop = 0, count
    for axis in range(3):
        start, step, last = starts[axis], steps[axis], shape[axis] - 1
        if step == 0:
            stop = stop if 0 <= start <= last else 0
        else:
            at_first, at_last = -start / step, (last - start) / step
            first = max(first, ceil(min(at_first, at_last)))
            stop = min(stop, floor(max(at_first, at_last)) + 1)
    return first, max(first, stop)


@compiled
def _row_start(matrix: NDArray, origin: NDArray, i: int, j: int) -> Any:
    """Return the point of the volume at which row (i, j) of a patch begins."""
    return (
        origin[0] + matrix[0, 0] * i + matrix[0, 1] * j,
        origin[1] + matrix[1, 0] * i + matrix[1, 1] * j,
        origin[2] + matrix[2, 0] * i + matrix[2, 1] * j,
    )


@compiled
def _lower(point: Any) -> Any:
    """Return the voxel before a point, along each axis."""
    return floor(point[0]), floor(point[1]), floor(point[2])


@compiled
def _parts(point: Any, lower: Any) -> Any:
    """Return the position of a point between the voxels around it, 0 to 1 along each axis."""
    return np.float32(point[0] - lower[0]), np.float32(point[1] - lower[1]), np.float32(point[2] - lower[2])


@compiled
def _at(start: Any, steps: Any, k: int) -> Any:
    """Return point `k` of a row."""
    return start[0] + steps[0] * k, start[1] + steps[1] * k, start[2] + steps[2] * k


@compiled
def _chosen(around: Any, point: Any, lower: Any) -> Any:
    """Return the label of all eight voxels, or the winner of the vote where they differ."""
    a, b, c, d, e, f, g, h = around
    if (a ^ b) | (a ^ c) | (a ^ d) | (a ^ e) | (a ^ f) | (a ^ g) | (a ^ h):
        return _winner(around, _parts(point, lower))
    return a


@compiled
def resample_image(volume: NDArray, matrix: NDArray, origin: NDArray, out: NDArray) -> None:
    """Fill `out` with linear interpolations of a volume at `matrix @ index + origin`; 0 beyond the volume.

    Args:
        volume: (channel, z, y, x) float32.
        matrix: (3, 3).
        origin: (3,).
        out: (channel, z, y, x) float32.
    """
    shape, length = volume.shape[1:], out.shape[3]
    steps, nothing = (matrix[0, 2], matrix[1, 2], matrix[2, 2]), np.float32(0)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            start = _row_start(matrix, origin, i, j)
            first, stop = _run(start, steps, shape, length)
            for c in range(volume.shape[0]):
                channel, flat, row = volume[c], volume[c].reshape(-1), out[c, i, j]
                for k in range(first, stop):
                    point = _at(start, steps, k)
                    z0, y0, x0 = np.int64(point[0]), np.int64(point[1]), np.int64(point[2])
                    row[k] = _between(_around_inside(flat, shape, z0, y0, x0), _parts(point, (z0, y0, x0)))
                for k in range(length - (stop - first)):
                    k = k if k < first else k + stop - first
                    point = _at(start, steps, k)
                    z0, y0, x0 = _lower(point)
                    row[k] = _between(_around(channel, z0, y0, x0, nothing), _parts(point, (z0, y0, x0)))


@compiled
def resample_labels(volume: NDArray, matrix: NDArray, origin: NDArray, beyond: int, out: NDArray) -> None:
    """Fill `out` with the label of the largest weight around each point.

    Args:
        volume: (z, y, x) int16.
        matrix: (3, 3).
        origin: (3,).
        beyond: label of all voxels beyond the volume.
        out: (z, y, x) int16.
    """
    shape, flat, length = volume.shape, volume.reshape(-1), out.shape[2]
    steps, other = (matrix[0, 2], matrix[1, 2], matrix[2, 2]), np.int16(beyond)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            start, row = _row_start(matrix, origin, i, j), out[i, j]
            first, stop = _run(start, steps, shape, length)
            for k in range(first, stop):
                point = _at(start, steps, k)
                z0, y0, x0 = np.int64(point[0]), np.int64(point[1]), np.int64(point[2])
                row[k] = _chosen(_around_inside(flat, shape, z0, y0, x0), point, (z0, y0, x0))
            for k in range(length - (stop - first)):
                k = k if k < first else k + stop - first
                point = _at(start, steps, k)
                z0, y0, x0 = _lower(point)
                row[k] = _chosen(_around(volume, z0, y0, x0, other), point, (z0, y0, x0))
