"""All outputs at new planes, a few planes at a time: for maps of probabilities, and for splines that are not convex."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from medseg.preprocessing.interpolate import Reads, Resize, read_along
from medseg.preprocessing.resample import spline_matrix
from medseg.preprocessing.windows import Window

Make = Callable[[range], torch.Tensor]

_MOST_VALUES = 1 << 22
"""Logits of one block; a single plane may have more."""

_NO_WEIGHT = 1e-9
"""Weights in a spline's row that are left out; they fall to 0.27 (cubic) of the one before with every voxel."""


def dense_blocks(window: Window, resize: Resize) -> Iterator[tuple[range, torch.Tensor]]:
    """The new planes of a window as blocks: which these are, and their logits (outputs, planes, y, x) float32."""
    make = _linear(window, resize) if resize.convex else _spline(window, resize)
    at_once = max(1, _MOST_VALUES // (len(window.logits) * resize.size[1] * resize.size[2]))
    for start in range(0, len(window.planes), at_once):
        planes = window.planes[start : start + at_once]
        yield planes, make(planes)


def _linear(window: Window, resize: Resize) -> Make:
    def make(planes: range) -> torch.Tensor:
        some, reads = _read_planes(window, planes, resize)
        data = read_along(window.logits[:, some].float(), 1, reads)
        for place in (1, 2):
            data = read_along(data, place + 1, resize.reads(place))
        return data

    return make


def _spline(window: Window, resize: Resize) -> Make:
    """As `resample_image`: clipped to the range of what is resampled as one piece, which is the volume or a slice."""
    logits, axis = window.logits, resize.axis
    within = [1 + place for place in range(3) if place != axis]
    # one output after another: float32 of all of them would be a second volume
    least = torch.cat([one[None].float().amin(within, keepdim=True) for one in logits])
    most = torch.cat([one[None].float().amax(within, keepdim=True) for one in logits])

    def make(planes: range) -> torch.Tensor:
        if axis == 0:
            some, reads = _read_planes(window, planes, resize)
            data = _in_plane(logits[:, some].float(), resize)
            return read_along(data.clamp(least[:, some], most[:, some]), 1, reads)
        data = _in_plane(_across(logits, planes, resize), resize).clamp(least, most)
        return data if axis is None else read_along(data, axis + 1, resize.reads(axis))

    return make


def _read_planes(window: Window, planes: range, resize: Resize) -> tuple[slice, Reads]:
    """Which planes of a window some new ones read, and the readings, counted from the first of these."""
    reads = resize.reads(0).part(planes, window.first)
    low, high = int(reads.lower[0]), int(reads.upper[-1])
    return slice(low, high + 1), reads.part(range(len(planes)), low)


def _across(logits: torch.Tensor, planes: range, resize: Resize) -> torch.Tensor:
    """Some new planes of a whole volume along its first axis."""
    if resize.present[0] == resize.size[0]:
        return logits[:, planes.start : planes.stop].float()
    rows = spline_matrix(resize.present[0], resize.size[0], resize.orders[0])[planes.start : planes.stop]
    used = (rows.abs() > _NO_WEIGHT).any(0).nonzero()
    some = slice(int(used[0]), int(used[-1]) + 1)
    rows = rows[:, some].to(logits.device, torch.float32)
    return torch.tensordot(rows, logits[:, some].float(), dims=([1], [1])).movedim(0, 1)


def _in_plane(data: torch.Tensor, resize: Resize) -> torch.Tensor:
    """Planes resized along their own axes, but for the one whose slices are resampled apart."""
    for place in (1, 2):
        if place != resize.axis and resize.present[place] != resize.size[place]:
            matrix = spline_matrix(resize.present[place], resize.size[place], resize.orders[place]).to(data)
            data = torch.tensordot(matrix, data, dims=([1], [place + 1])).movedim(0, place + 1)
    return data
