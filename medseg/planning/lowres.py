"""The low resolution beside a full one: whether a patch of the full one shows too little, and which grid shows enough.

The rules are nnU-Net v2's (Isensee et al., Nature Methods 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from medseg.planning.memory import Budget, fit_patch, times

LOWRES_BELOW = 0.25  # patch / median image, in voxels, below which a low-resolution stage is looked for
LOWRES_STEP = 1.03  # growth of the spacing per step of that search
LOWRES_SIMILAR = 2  # the coarsest axis waits while another is more than this many times finer
LOWRES_MIN_GAIN = 2  # how many times fewer voxels the low resolution must have


@dataclass(frozen=True)
class Grid:
    """The resampled data set: transposed target spacing, median shape, and the voxels of all its cases."""

    spacing_mm: tuple[float, ...]
    median_voxels: tuple[float, ...]
    dataset_voxels: float
    reason: str  # for the spacing


def lowres_grid(grid: Grid, n_cases: int, budget: Budget, least_gain: float = 1.0) -> tuple[Grid | None, str]:
    """The finest grid on which a patch shows a quarter of the image, if it is needed and worth it; and why.

    With a `least_gain` above 1 it is made in any case, with so many times fewer voxels at least.

    The spacing grows by 3 % per step: along all axes, or only along those more than twice as fine as the
    coarsest while there are such. Source: nnU-Net v2 (Isensee et al. 2021).
    """
    spacing, full = list(grid.spacing_mm), prod(grid.median_voxels)
    low, voxels = grid, full
    patch = fit_patch(low.spacing_mm, low.median_voxels, budget)[0].patch_voxels
    shown = f"a patch of {times(patch)} voxels shows {prod(patch) / full:.1%} of the median image"
    while prod(patch) / voxels < LOWRES_BELOW or full / voxels < least_gain:
        finer = [max(spacing) / s > LOWRES_SIMILAR for s in spacing]
        growing = finer if any(finer) else [True] * len(spacing)
        spacing = [s * LOWRES_STEP if grows else s for s, grows in zip(spacing, growing, strict=True)]
        shape = [own / s * n for own, s, n in zip(grid.spacing_mm, spacing, grid.median_voxels, strict=True)]
        voxels = prod(shape)
        low = Grid(tuple(spacing), tuple(max(1, round(n)) for n in shape), voxels * n_cases, "")
        patch = fit_patch(low.spacing_mm, low.median_voxels, budget)[0].patch_voxels
    gain = f"{full / voxels:.3g} times fewer voxels"
    if low is grid:
        return None, f"not planned: {shown}; from {LOWRES_BELOW:.0%} on that is enough"
    if full / voxels < LOWRES_MIN_GAIN:
        return None, f"not planned: {shown}, but the low resolution would have only {gain}"
    low = replace(low, reason=f"finest at which a patch shows {LOWRES_BELOW:.0%} of the image: {gain}")
    return low, shown
