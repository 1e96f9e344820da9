"""All outputs interpolated at new planes, a few planes at a time.

For maps of probabilities, and for splines that are not convex; labels alone need less, see `cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from medseg.preprocessing.interpolate import Reads, Resize, read_along
from medseg.preprocessing.resample import spline_matrix
from medseg.preprocessing.windows import Window

Make = Callable[[range], torch.Tensor]
"""Makes the logits (outputs, planes, y, x) of some new planes."""

_MOST_VALUES = 1 << 22
"""Logits of one block (16 MB of float32); a single plane may have more."""

_NO_WEIGHT = 1e-9
"""Weights of a spline below this are left out, less than float32 rounding; a cubic spline's fall to 0.27 a voxel."""


def dense_blocks(window: Window, resize: Resize) -> Iterator[tuple[range, torch.Tensor]]:
    """Yield the new planes of a window as blocks: which planes, and their logits (outputs, planes, y, x) float32.

    Args:
        window: planes of the network's grid, and which new planes to make of them.
        resize: from the network's grid to the new one.
    """
    make = _linear(window, resize) if resize.convex else _spline(window, resize)
    at_once = max(1, _MOST_VALUES // (len(window.logits) * resize.size[1] * resize.size[2]))
    for start in range(0, len(window.planes), at_once):
        planes = window.planes[start : start + at_once]
        yield planes, make(planes)


def _linear(window: Window, resize: Resize) -> Make:
    """Return a function that interpolates planes with splines of order 0 and 1."""

    def make(planes: range) -> torch.Tensor:
        read, reads = _read_planes(window, planes, resize)
        data = read_along(window.logits[:, read].float(), 1, reads)
        for dimension in (1, 2):
            data = read_along(data, dimension + 1, resize.reads(dimension))
        return data

    return make


def _spline(window: Window, resize: Resize) -> Make:
    """Return a function that interpolates planes with splines of order 2 and more, as `resample_image` does.

    Values are clipped to the range of what is resampled as one piece: the volume, or a slice along `resize.axis`.
    """
    logits, axis = window.logits, resize.axis
    within = [1 + dimension for dimension in range(3) if dimension != axis]
    # one output after another, as float32 of all of them would be a second volume
    least = torch.cat([output[None].float().amin(within, keepdim=True) for output in logits])
    most = torch.cat([output[None].float().amax(within, keepdim=True) for output in logits])

    def make(planes: range) -> torch.Tensor:
        if axis == 0:
            read, reads = _read_planes(window, planes, resize)
            data = _in_plane(logits[:, read].float(), resize)
            return read_along(data.clamp(least[:, read], most[:, read]), 1, reads)
        data = _in_plane(_across(logits, planes, resize), resize).clamp(least, most)
        return data if axis is None else read_along(data, axis + 1, resize.reads(axis))

    return make


def _read_planes(window: Window, planes: range, resize: Resize) -> tuple[slice, Reads]:
    """Return which planes of a window are needed to interpolate some new planes, and how.

    Args:
        window: consecutive planes of the logits.
        planes: numbers of the new planes in the resampled volume.
        resize: the resampling.

    Returns:
        The slice of the window, and for each new plane which planes of that slice it reads, with their weights.
    """
    reads = resize.reads(0).part(planes, window.first)
    low, high = int(reads.lower[0]), int(reads.upper[-1])
    return slice(low, high + 1), reads.part(range(len(planes)), low)


def _across(logits: torch.Tensor, planes: range, resize: Resize) -> torch.Tensor:
    """Return some new planes of a volume that is resampled along its first axis only."""
    if resize.present[0] == resize.size[0]:
        return logits[:, planes.start : planes.stop].float()
    rows = spline_matrix(resize.present[0], resize.size[0], resize.orders[0])[planes.start : planes.stop]
    used = (rows.abs() > _NO_WEIGHT).any(0).nonzero()
    read = slice(int(used[0]), int(used[-1]) + 1)
    rows = rows[:, read].to(logits.device, torch.float32)
    return torch.tensordot(rows, logits[:, read].float(), dims=([1], [1])).movedim(0, 1)


def _in_plane(data: torch.Tensor, resize: Resize) -> torch.Tensor:
    """Return planes resized along y and x, except an axis whose slices are resampled separately."""
    for dimension in (1, 2):
        present, size = resize.present[dimension], resize.size[dimension]
        if dimension != resize.axis and present != size:
            matrix = spline_matrix(present, size, resize.orders[dimension]).to(data)
            data = torch.tensordot(matrix, data, dims=([1], [dimension + 1])).movedim(0, dimension + 1)
    return data
