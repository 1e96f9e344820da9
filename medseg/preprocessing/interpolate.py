"""Linear interpolation from the network's grid to the scan's: which voxels make up a new voxel, with which weights.

The result is that of `resample_image`, where a matrix resizes each axis. For orders 0 and 1 a row of that matrix has at
most two entries, side by side: `Reads`. Splines of order 2 and more read whole lines, and their values may lie beyond
those that they read: they are not convex.
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
"""A share below this is the rounding error of a position on a voxel: that voxel alone is read."""


@dataclass(frozen=True)
class Reads:
    """Present voxels that each new voxel of a line is made of: `(1 - share) * lower + share * upper`.

    Attributes:
        lower: (new voxels,) indices of present voxels, not falling.
        upper: likewise: the next after `lower`, or `lower` itself where `share` is 0.
        share: (new voxels,) float32, at least 0 and less than 1.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    share: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.lower)

    def part(self, new: range, first: int) -> Reads:
        """Return the readings of the new voxels in `new`, with present voxels counted from `first`."""
        part = slice(new.start, new.stop)
        return Reads(self.lower[part] - first, self.upper[part] - first, self.share[part])

    @property
    def interpolates(self) -> bool:
        """Whether any new voxel reads two present ones."""
        return bool(self.share.any())


@dataclass(frozen=True)
class Resize:
    """A change of grid along its axes.

    Attributes:
        present: voxels (z, y, x) of the grid that is there.
        size: voxels (z, y, x) of the new grid.
        orders: order of the spline along each axis.
        axis: the axis whose slices are resampled separately; None for none.
    """

    present: tuple[int, int, int]
    size: tuple[int, int, int]
    orders: tuple[int, int, int]
    axis: int | None

    @classmethod
    def of(cls, present: Sequence[int], size: Sequence[int], how: Resampling, axis: int | None) -> Resize:
        """Return the change of grid that `resample_image` makes of the same arguments.

        Args:
            present: voxels (z, y, x) of the grid that is there.
            size: voxels (z, y, x) of the new grid.
            how: orders of the splines.
            axis: the axis whose slices are resampled separately; None for none.
        """
        z, y, x = (how.order_across if dimension == axis else how.order for dimension in range(3))
        return cls((present[0], present[1], present[2]), (size[0], size[1], size[2]), (z, y, x), axis)

    @property
    def convex(self) -> bool:
        """Whether the value of each new voxel lies between those that it reads: splines of order 0 and 1."""
        return self.present == self.size or max(self.orders) < 2

    @property
    def streams(self) -> bool:
        """Whether a new plane depends on at most two neighbouring planes, so that planes may come one by one."""
        return self.convex or self.axis == 0

    def reads(self, dimension: int) -> Reads:
        """Return the readings along a dimension (0 to 2) that is resized with order 0 or 1, or not at all."""
        order = 0 if self.present == self.size else self.orders[dimension]
        return axis_reads(self.present[dimension], self.size[dimension], order)


@lru_cache(maxsize=64)
def axis_reads(present: int, size: int, order: int) -> Reads:
    """Return the readings that resize a line with order 0 or 1; beyond the edges the edge repeats.

    Positions as in `skimage.transform.resize`, that is `scipy.ndimage.zoom` in grid mode: the centres of voxels of a
    line that keeps its length.

    >>> axis_reads(2, 4, 1).lower.tolist(), axis_reads(2, 4, 1).share.tolist()
    ([0, 0, 0, 1], [0.0, 0.25, 0.75, 0.0])

    Args:
        present: voxels of the line.
        size: voxels of the new line.
        order: 0 for the nearest voxel, 1 for linear interpolation.
    """
    if order == 0 or present == size:
        lower = nearest_voxels(present, size).numpy()
        return Reads(lower, lower, np.zeros(size, np.float32))
    position = np.clip((np.arange(size) + 0.5) * (present / size) - 0.5, 0, present - 1)
    lower = np.floor(position + _NO_SHARE).astype(np.int64)
    share = np.where(position - lower < _NO_SHARE, 0, position - lower)
    return Reads(lower, lower + (share > 0), share.astype(np.float32))


def read_along(data: torch.Tensor, dimension: int, reads: Reads) -> torch.Tensor:
    """Return data with one dimension resized by its readings, in the type of the data.

    Args:
        data: floating-point numbers.
        dimension: the number of the dimension that is resized.
        reads: what each new voxel reads.
    """
    lower = pick_along(data, dimension, reads.lower)
    if not reads.interpolates:
        return lower
    share = torch.from_numpy(reads.share).to(data).reshape(-1, *(1,) * (data.ndim - 1 - dimension))
    return lower.mul_(1 - share).add_(pick_along(data, dimension, reads.upper).mul_(share))


def pick_along(data: torch.Tensor, dimension: int, indices: NDArray[np.int64]) -> torch.Tensor:
    """Return a copy of the data at some indices of a dimension.

    Args:
        data: numbers of any type.
        dimension: the number of the dimension that the indices belong to.
        indices: positions along that dimension, in any order.
    """
    index = torch.from_numpy(indices).to(data.device)
    if dimension < data.ndim - 1:
        return data.index_select(dimension, index)
    # torch picks from the last dimension 8 times as fast if there are only two
    rows = data.reshape(-1, data.shape[-1])
    return rows.index_select(1, index).reshape(*data.shape[:-1], len(index))
