"""Measure the distances between the surfaces of two masks once; every surface score is derived from them.

Two definitions of a surface: `elements` (Nikolov et al. 2018, arXiv:1809.04430, DeepMind's surface-distance), where
corner points between voxels weigh as much as the surface around them; and `voxels` (MONAI), where the surface is the
centres of the voxels that have a face outside, each weighing the same, and percentiles are interpolated.

The nearest point of the other surface is found by a k-d tree over its points: exact, and faster than a distance
transform of the box around both, because distances are needed on the surface alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.elements import element_areas, full_code, neighbour_codes

Definition = Literal["elements", "voxels"]
_ROUNDING = 1e-9
"""Relative: a distance that equals the tolerance must not miss it by the rounding of a square root."""


@dataclass(frozen=True)
class Elements:
    """The surface elements of one side.

    Attributes:
        distance_mm: distance of each element to the other surface, ascending; infinite where the other side is empty.
        area: area of each element, in mm² (in mm in 2D); 1 for `voxels`.
        interpolated: whether percentiles lie between two distances, as for `voxels`.
    """

    distance_mm: NDArray[np.float64]
    area: NDArray[np.float64]
    interpolated: bool = False

    def percentile(self, percent: float) -> float:
        """Return the smallest distance that `percent` of the area does not exceed."""
        if self.interpolated:
            return float(np.percentile(self.distance_mm, percent))
        share = np.cumsum(self.area) / self.area.sum()
        index = int(np.searchsorted(share, percent / 100))
        return float(self.distance_mm[min(index, len(share) - 1)])  # the last share may round to less than 1

    def area_within(self, tolerance_mm: float) -> float:
        """Return the area at most `tolerance_mm` away from the other surface; equal up to rounding is within."""
        limit_mm = tolerance_mm * (1 + _ROUNDING)
        return float(self.area[: np.searchsorted(self.distance_mm, limit_mm, side="right")].sum())


@dataclass(frozen=True)
class SurfaceDistances:
    """The distances between two surfaces; scores are None where they are not defined.

    Attributes:
        reference: elements of the reference's surface, with their distances to the prediction's.
        prediction: elements of the prediction's surface, with their distances to the reference's.
    """

    reference: Elements
    prediction: Elements

    @property
    def empty(self) -> bool:
        """Whether a side has no surface, so that there is no distance."""
        return not len(self.reference.area) or not len(self.prediction.area)

    def hausdorff_mm(self, percent: float = 100) -> float | None:
        """Return the Hausdorff distance; None where a side is empty.

        Args:
            percent: share of the area of each surface, in percent, that lies within the distance; 100 for the Hausdorff
                distance, 95 for HD95.

        Returns:
            The larger of both sides' percentiles, in mm.
        """
        return None if self.empty else max(self.reference.percentile(percent), self.prediction.percentile(percent))

    @property
    def average_mm(self) -> float | None:
        """ASSD: mean distance over the area of both surfaces (Heimann et al. 2009); None where a side is empty."""
        if self.empty:
            return None
        sides = (self.reference, self.prediction)
        return float(sum(side.distance_mm @ side.area for side in sides) / sum(side.area.sum() for side in sides))

    def within(self, tolerance_mm: float) -> float | None:
        """Return the NSD or surface Dice: the share of both surfaces' area within a tolerance (Nikolov et al. 2018).

        Args:
            tolerance_mm: the largest distance to the other surface that counts as agreement.

        Returns:
            The share; 0 where one side is empty, None where both are.
        """
        area = float(self.reference.area.sum() + self.prediction.area.sum())
        near = self.reference.area_within(tolerance_mm) + self.prediction.area_within(tolerance_mm)
        return near / area if area else None


def surface_distances(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    definition: Definition = "elements",
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks of one shape.

    Beyond the masks nothing is inside, so that a structure cut by the edge of the image has a surface there. Axes of
    a single voxel are left out: a slice is measured in 2D.

    Args:
        reference: (z, y, x) or (y, x), where the reference has the structure.
        prediction: likewise.
        spacing_mm: distance of voxels along each axis.
        definition: what a surface consists of; see the module.

    Returns:
        The distances in mm from each surface to the other, with the areas that they stand for.

    Raises:
        ValueError: the shapes differ, or there is not one spacing for each axis.
    """
    if reference.shape != prediction.shape or reference.ndim != len(spacing_mm):
        raise ValueError(
            f"the reference has shape {reference.shape}, the prediction {prediction.shape}, "
            f"and there are {len(spacing_mm)} spacings"
        )
    axes = _measured_axes(reference.shape)
    shape = tuple(reference.shape[axis] for axis in axes)
    spacing = tuple(float(spacing_mm[axis]) for axis in axes)
    find = _find_elements if definition == "elements" else _find_voxels
    (indices_r, area_r, grid), (indices_p, area_p, _) = (
        find(np.ascontiguousarray(mask, dtype=bool).reshape(shape), spacing) for mask in (reference, prediction)
    )
    points_r, points_p = (
        np.column_stack(np.unravel_index(indices, grid)) * np.array(spacing) for indices in (indices_r, indices_p)
    )
    # Good predictions share most of their surface: those points are 0 apart and need no search.
    _, shared_r, shared_p = np.intersect1d(indices_r, indices_p, assume_unique=True, return_indices=True)
    interpolated = definition == "voxels"
    return SurfaceDistances(
        Elements(*_sorted_by_distance(_distances(points_r, points_p, shared_r), area_r), interpolated),
        Elements(*_sorted_by_distance(_distances(points_p, points_r, shared_p), area_p), interpolated),
    )


def _find_elements(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[int, ...]]:
    """Return flat indices of the corner points on the surface, their areas, and the shape of the grid of corners."""
    codes = neighbour_codes(mask)
    indices = np.flatnonzero((codes != 0) & (codes != full_code(mask.ndim)))
    return indices, element_areas(spacing_mm)[codes.ravel()[indices]], codes.shape


def _find_voxels(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[int, ...]]:
    """Return flat indices of the voxels with a face outside, an area of 1 for each, and the shape of the mask."""
    inner = mask.copy()  # becomes: voxels whose neighbours at all faces are inside
    for axis in range(mask.ndim):
        slices, inner_slices = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        inner_slices[1:] &= slices[:-1]
        inner_slices[:-1] &= slices[1:]
        inner_slices[[0, -1]] = False  # beyond the mask nothing is inside
    indices = np.flatnonzero(mask & ~inner)
    return indices, np.ones(len(indices)), mask.shape


def _distances(
    points: NDArray[np.float64], others: NDArray[np.float64], shared: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the distance of each point to the nearest of the others: 0 at `shared`, infinite where there is none."""
    from scipy.spatial import cKDTree

    distance = np.full(len(points), np.inf)
    distance[shared] = 0
    apart = np.flatnonzero(distance)
    if len(apart) and len(others):
        # Balancing the tree costs what it saves: points on a grid are spread evenly already.
        distance[apart] = cKDTree(others, balanced_tree=False, compact_nodes=False).query(points[apart])[0]
    return distance


def _sorted_by_distance(
    distance: NDArray[np.float64], area: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distances and areas, sorted by distance."""
    order = np.argsort(distance, kind="stable")
    return distance[order], area[order]


def _measured_axes(shape: Sequence[int]) -> list[int]:
    """Return the axes along which there is more than one voxel, two of them at least."""
    axes = sorted(range(len(shape)), key=lambda axis: (shape[axis] == 1, axis))
    count = max(2, sum(size > 1 for size in shape))
    return sorted(axes[:count])
