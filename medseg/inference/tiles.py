"""Where the tiles of a sliding window lie, and what share each has in the mean at every voxel.

The tiles form a grid, and their Gaussian weight is a product of one profile an axis. So is the sum of the weights
of all tiles, and the share of a tile in the mean, weight / sum, needs three lines of numbers and no volume.
Rules of nnU-Net v2 (`sliding_window_prediction.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        volume: the part of the volume that it covers.
        tile: where that part lies in the tile; all of it, unless the volume is smaller than a tile.
        share: float32, its weight along that part; over the spans of an axis these add up to one at every voxel.
    """

    volume: slice
    tile: slice
    share: torch.Tensor

    @property
    def size(self) -> int:
        """Voxels covered."""
        return self.volume.stop - self.volume.start


@dataclass(frozen=True)
class Tile:
    """A tile of the window.

    Attributes:
        spans: on each axis (z, y, x).
        padded: the volume is smaller than a tile along an axis, so that part of the tile lies outside.
    """

    spans: tuple[Span, Span, Span]
    padded: bool

    @property
    def volume(self) -> tuple[slice, slice, slice]:
        """The part of the volume that it covers."""
        z, y, x = self.spans
        return z.volume, y.volume, x.volume

    @property
    def inside(self) -> tuple[slice, slice, slice]:
        """Where that part lies in the tile."""
        z, y, x = self.spans
        return z.tile, y.tile, x.tile

    @property
    def planes(self) -> range:
        """The planes of the volume that it covers."""
        return range(self.spans[0].volume.start, self.spans[0].volume.stop)


def grid_of_tiles(
    shape: Sequence[int], tile: Sequence[int], step_fraction: float, sigma_fraction: float
) -> Iterator[Tile]:
    """Every tile of a volume (z, y, x), those of the first planes first.

    A volume that is smaller than a tile along an axis lies in the middle of it.
    """
    axes = (axis_spans(size, length, step_fraction, sigma_fraction) for size, length in zip(shape, tile, strict=True))
    padded = any(size < length for size, length in zip(shape, tile, strict=True))
    for z, y, x in product(*axes):
        yield Tile((z, y, x), padded)


def axis_spans(size: int, length: int, step_fraction: float, sigma_fraction: float) -> list[Span]:
    """The tiles of `length` voxels along an axis of `size` voxels."""
    if size <= length:
        before = (length - size) // 2
        return [Span(slice(0, size), slice(before, before + size), torch.ones(size))]
    starts = axis_starts(size, length, step_fraction)
    profile = gaussian_profile(length, sigma_fraction)
    total = np.zeros(size)
    for start in starts:
        total[start : start + length] += profile
    shares = (torch.from_numpy(profile / total[start : start + length]).float() for start in starts)
    return [
        Span(slice(start, start + length), slice(0, length), share) for start, share in zip(starts, shares, strict=True)
    ]


def axis_starts(size: int, length: int, step_fraction: float) -> list[int]:
    """First voxel of every tile along an axis that is at least as long as a tile.

    As few tiles as leave no gap larger than `step_fraction` of a tile, spread evenly and rounded.
    """
    count = ceil((size - length) / max(length * step_fraction, 1)) + 1  # slices one by one, where a tile is a slice
    stride = (size - length) / max(count - 1, 1)
    return [int(np.round(stride * number)) for number in range(count)]


@lru_cache(maxsize=64)
def gaussian_profile(length: int, sigma_fraction: float) -> NDArray[np.float64]:
    """Weight along a tile: a Gaussian around its centre, 1 there and never zero.

    nnU-Net filters a unit impulse, whose tails it cuts at four sigma, and lifts zeros to the smallest value left;
    this is the profile of the same filter. With nnU-Net's sigma, an eighth of a tile, nothing is cut.
    """
    from scipy.ndimage import gaussian_filter1d

    impulse = np.zeros(length)
    impulse[length // 2] = 1.0
    profile = gaussian_filter1d(impulse, length * sigma_fraction, mode="constant")
    profile /= profile.max()
    return np.maximum(profile, profile[profile > 0].min())
