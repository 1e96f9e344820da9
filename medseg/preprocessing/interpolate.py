"""From the network's grid to the scan's: which voxels a new voxel is made of, and in which shares.

The answer is that of `resample_image`, where a matrix resizes each axis. For orders 0 and 1 a row of that matrix
has at most two entries, side by side: `Reads`. Splines of order 2 and more read whole lines and are not convex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.plans.schema import Resampling
from medseg.preprocessing.resample import nearest_voxels

_NO_SHARE = 1e-9
"""Shares below this are the rounding of a position, not a reading."""


@dataclass(frozen=True)
class Reads:
    """A line of new voxels: each is `(1 - share) * lower + share * upper`.

    Attributes:
        lower, upper: indices of present voxels, rising; `upper` is the next after `lower`, and `lower` itself where
            `share` is 0.
        share: float32, at least 0 and less than 1.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    share: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.lower)

    def part(self, new: range, first: int) -> Reads:
        """The readings of some new voxels, with the present ones counted from `first`."""
        some = slice(new.start, new.stop)
        return Reads(self.lower[some] - first, self.upper[some] - first, self.share[some])

    @property
    def interpolates(self) -> bool:
        """Whether any new voxel reads two present ones."""
        return bool(self.share.any())


@dataclass(frozen=True)
class Resize:
    """From `present` voxels per axis to `size`, with a spline order per axis; slices along `axis` apart."""

    present: tuple[int, int, int]
    size: tuple[int, int, int]
    orders: tuple[int, int, int]
    axis: int | None

    @classmethod
    def of(cls, present: Sequence[int], size: Sequence[int], how: Resampling, axis: int | None) -> Resize:
        """What `resample_image` does when it is told the same."""
        z, y, x = (how.order_across if place == axis else how.order for place in range(3))
        return cls((present[0], present[1], present[2]), (size[0], size[1], size[2]), (z, y, x), axis)

    @property
    def convex(self) -> bool:
        """Whether each new voxel lies between the present voxels that it reads."""
        return self.present == self.size or max(self.orders) < 2

    @property
    def streams(self) -> bool:
        """Whether a new plane reads at most two neighbouring planes, and nothing of the others."""
        return self.convex or self.axis == 0

    def reads(self, place: int) -> Reads:
        """The readings along an axis that is resized with order 0 or 1, or not at all."""
        order = 0 if self.present == self.size else self.orders[place]
        return axis_reads(self.present[place], self.size[place], order)


@lru_cache(maxsize=64)
def axis_reads(present: int, size: int, order: int) -> Reads:
    """The readings that resize a line with order 0 or 1; beyond the edges the edge repeats.

    Positions as in `skimage.transform.resize`, that is `scipy.ndimage.zoom` in grid mode.
    """
    if order == 0 or present == size:
        lower = nearest_voxels(present, size).numpy()
        return Reads(lower, lower, np.zeros(size, np.float32))
    position = np.clip((np.arange(size) + 0.5) * (present / size) - 0.5, 0, present - 1)
    lower = np.floor(position + _NO_SHARE).astype(np.int64)
    share = np.where(position - lower < _NO_SHARE, 0, position - lower)
    return Reads(lower, lower + (share > 0), share.astype(np.float32))


def read_along(data: torch.Tensor, dimension: int, reads: Reads) -> torch.Tensor:
    """Resize one dimension of floating-point data by its readings."""
    lower = pick_along(data, dimension, reads.lower)
    if not reads.interpolates:
        return lower
    share = torch.from_numpy(reads.share).to(data).reshape(-1, *(1,) * (data.ndim - 1 - dimension))
    return lower.mul_(1 - share).add_(pick_along(data, dimension, reads.upper).mul_(share))


def pick_along(data: torch.Tensor, dimension: int, places: NDArray[np.int64]) -> torch.Tensor:
    """A copy of what lies at some places of a dimension."""
    index = torch.from_numpy(places).to(data.device)
    if dimension < data.ndim - 1:
        return data.index_select(dimension, index)
    rows = data.reshape(-1, data.shape[-1])  # of two dimensions, torch picks from the last one 8 times as fast
    return rows.index_select(1, index).reshape(*data.shape[:-1], len(index))
