"""Where the tiles of a sliding window lie, and how they are weighted.

Rules of nnU-Net v2 (`sliding_window_prediction.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import ceil

import numpy as np
import torch


def tile_starts(shape: Sequence[int], tile: Sequence[int], step_fraction: float) -> list[tuple[int, ...]]:
    """First voxel of every tile; `shape` must be at least as large as `tile` along each axis.

    As few tiles as leave no gap larger than `step_fraction` of a tile, spread evenly and rounded.
    """
    axes = []
    for size, length in zip(shape, tile, strict=True):
        count = ceil((size - length) / (length * step_fraction)) + 1
        stride = (size - length) / max(count - 1, 1)
        axes.append([int(np.round(stride * number)) for number in range(count)])
    return list(product(*axes))


@lru_cache(maxsize=16)
def gaussian_weight(tile: tuple[int, ...], sigma_fraction: float) -> torch.Tensor:
    """Weight of each voxel of a tile: a Gaussian around its centre, 1 there and never zero.

    Separable: the outer product of one profile per axis. nnU-Net filters a unit impulse, whose tails it cuts at
    four sigma and then lifts to the smallest value; here the profile is the same filter's.
    """
    from scipy.ndimage import gaussian_filter1d

    weight = torch.ones((), dtype=torch.float32)
    for size in tile:
        impulse = np.zeros(size)
        impulse[size // 2] = 1.0
        profile = gaussian_filter1d(impulse, size * sigma_fraction, mode="constant")
        weight = weight[..., None] * torch.from_numpy(profile / profile.max()).float()
    smallest = weight[weight > 0].min().clamp(min=torch.finfo(torch.float32).tiny)
    return weight.clamp(min=float(smallest))
