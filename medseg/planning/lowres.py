"""The low resolution: whether a patch at full resolution shows too little of the image, and which grid shows enough.

The rules and constants are nnU-Net v2's (`experiment_planning/experiment_planners/default_experiment_planner.py`,
`ExperimentPlanner.plan_experiment`; Isensee et al., Nature Methods 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from medseg.planning.memory import Budget, fit_patch, times

LOWRES_BELOW = 0.25
"""A low resolution is planned if a patch shows a smaller share of the median image (`lowres_creation_threshold`)."""
LOWRES_STEP = 1.03
"""Factor by which the spacing grows in each step of the search (`spacing_increase_factor`)."""
LOWRES_SIMILAR = 2
"""While an axis is more than this many times finer than the coarsest one, only such axes grow."""
LOWRES_MIN_GAIN = 2
"""The low resolution must have at least this many times fewer voxels than the full one to be worth a network."""


@dataclass(frozen=True)
class Grid:
    """A grid that the data set may be resampled to; axes in the network's order.

    Attributes:
        spacing_mm: the target spacing.
        median_voxels: median shape of the resampled cases; may hold halves.
        dataset_voxels: voxels of all resampled cases together.
        reason: why this spacing.
    """

    spacing_mm: tuple[float, ...]
    median_voxels: tuple[float, ...]
    dataset_voxels: float
    reason: str


def lowres_grid(grid: Grid, n_cases: int, budget: Budget, least_gain: float = 1.0) -> tuple[Grid | None, str]:
    """Return the finest grid on which a patch shows a quarter of the image, if it is needed and worth it.

    The spacing grows by 3 % in each step: along all axes, or only along those that are more than twice as fine as the
    coarsest one while there are such.

    Args:
        grid: the full resolution.
        n_cases: number of cases.
        budget: the memory that a patch must fit.
        least_gain: the grid must have at least this many times fewer voxels; above 1, for a cascade that was asked for,
            it is returned even if the rule needs none.

    Returns:
        The grid, or None if none is needed or worth it; and the reason.
    """
    spacing, full = list(grid.spacing_mm), prod(grid.median_voxels)
    low, voxels = grid, full
    patch = fit_patch(low.spacing_mm, low.median_voxels, budget)[0].patch_voxels
    patch_share = f"a patch of {times(patch)} voxels shows {prod(patch) / full:.1%} of the median image"
    while prod(patch) / voxels < LOWRES_BELOW or full / voxels < least_gain:
        # the finer axes grow first, so that voxels become more alike, as in nnU-Net
        finer = [max(spacing) / step > LOWRES_SIMILAR for step in spacing]
        growing = finer if any(finer) else [True] * len(spacing)
        spacing = [step * LOWRES_STEP if grows else step for step, grows in zip(spacing, growing, strict=True)]
        shape = [
            full_step / step * edge
            for full_step, step, edge in zip(grid.spacing_mm, spacing, grid.median_voxels, strict=True)
        ]
        voxels = prod(shape)
        low = Grid(tuple(spacing), tuple(max(1, round(n)) for n in shape), voxels * n_cases, "")
        patch = fit_patch(low.spacing_mm, low.median_voxels, budget)[0].patch_voxels
    gain = f"{full / voxels:.3g} times fewer voxels"
    if low is grid:
        return None, f"not planned: {patch_share}; from {LOWRES_BELOW:.0%} on that is enough"
    if full / voxels < LOWRES_MIN_GAIN:
        return None, f"not planned: {patch_share}, but the low resolution would have only {gain}"
    low = replace(low, reason=f"finest at which a patch shows {LOWRES_BELOW:.0%} of the image: {gain}")
    return low, patch_share
