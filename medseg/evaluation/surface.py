"""Distances between the surfaces of two masks, measured once; every surface score is derived from them.

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


@dataclass(frozen=True)
class Elements:
    """The surface elements of one side.

    Attributes:
        distance_mm: of each to the other surface, ascending; infinite where the other side is empty.
        area: of each, in mm² (in mm in 2D); 1 for `voxels`.
        interpolated: whether percentiles lie between two distances, as for `voxels`.
    """

    distance_mm: NDArray[np.float64]
    area: NDArray[np.float64]
    interpolated: bool = False

    def percentile(self, percent: float) -> float:
        """The smallest distance that is not exceeded by `percent` of the area."""
        if self.interpolated:
            return float(np.percentile(self.distance_mm, percent))
        share = np.cumsum(self.area) / self.area.sum()
        place = int(np.searchsorted(share, percent / 100))
        return float(self.distance_mm[min(place, len(share) - 1)])

    def area_within(self, tolerance_mm: float) -> float:
        """Area at most `tolerance_mm` away from the other surface; equal up to rounding is within."""
        most = tolerance_mm * (1 + _ROUNDING)
        return float(self.area[: np.searchsorted(self.distance_mm, most, side="right")].sum())


@dataclass(frozen=True)
class SurfaceDistances:
    """How far two surfaces are apart; scores are None where they are not defined."""

    reference: Elements
    prediction: Elements

    @property
    def empty(self) -> bool:
        """Whether a side has no surface, so that there is no distance."""
        return not len(self.reference.area) or not len(self.prediction.area)

    def hausdorff_mm(self, percent: float = 100) -> float | None:
        """Hausdorff distance: the larger of both sides' percentiles; 95 gives HD95."""
        return None if self.empty else max(self.reference.percentile(percent), self.prediction.percentile(percent))

    @property
    def average_mm(self) -> float | None:
        """ASSD: mean distance over the area of both surfaces together (Heimann et al. 2009)."""
        if self.empty:
            return None
        sides = (self.reference, self.prediction)
        return float(sum(side.distance_mm @ side.area for side in sides) / sum(side.area.sum() for side in sides))

    def within(self, tolerance_mm: float) -> float | None:
        """NSD, the surface Dice: share of both surfaces' area at most `tolerance_mm` from the other.

        0 where one side is empty, None where both are.
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
    """Measure how far the surfaces of two masks of one shape are apart.

    Beyond the masks nothing is inside, so that a structure cut by the edge of the image has a surface there. Axes of
    a single voxel are left out: a slice is measured in 2D.

    Args:
        reference, prediction: two or three axes.
        spacing_mm: distance of voxels along each axis.
        definition: of a surface.

    Raises:
        ValueError: the shapes differ, or there is not one spacing for each axis.
    """
    if reference.shape != prediction.shape or reference.ndim != len(spacing_mm):
        raise ValueError(
            f"the reference has shape {reference.shape}, the prediction {prediction.shape}, "
            f"and there are {len(spacing_mm)} spacings"
        )
    kept = _kept_axes(reference.shape)
    shape = tuple(reference.shape[axis] for axis in kept)
    spacing = tuple(float(spacing_mm[axis]) for axis in kept)
    find = _find_elements if definition == "elements" else _find_voxels
    (first, area_a, grid), (second, area_b, _) = (
        find(np.ascontiguousarray(mask, dtype=bool).reshape(shape), spacing) for mask in (reference, prediction)
    )
    a, b = (np.column_stack(np.unravel_index(place, grid)) * np.array(spacing) for place in (first, second))
    _, shared_a, shared_b = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    interpolated = definition == "voxels"
    return SurfaceDistances(
        Elements(*_sorted(_distances(a, b, shared_a), area_a), interpolated),
        Elements(*_sorted(_distances(b, a, shared_b), area_b), interpolated),
    )


def _find_elements(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[int, ...]]:
    """Flat places of corner points on the surface, their areas, and the shape of the grid of corner points."""
    codes = neighbour_codes(mask)
    places = np.flatnonzero((codes != 0) & (codes != full_code(mask.ndim)))
    return places, element_areas(spacing_mm)[codes.ravel()[places]], codes.shape


def _find_voxels(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[int, ...]]:
    """Flat places of the voxels that have a face outside, an area of 1 for each, and the shape of the mask."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        lines, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= lines[:-1]
        kept[:-1] &= lines[1:]
        kept[[0, -1]] = False
    places = np.flatnonzero(mask & ~inner)
    return places, np.ones(len(places)), mask.shape


def _distances(own: NDArray[np.float64], other: NDArray[np.float64], shared: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each point to the nearest of the other side: 0 at `shared`, infinite where there is none."""
    from scipy.spatial import cKDTree

    distance = np.full(len(own), np.inf)
    distance[shared] = 0
    apart = np.flatnonzero(distance)
    if len(apart) and len(other):
        distance[apart] = cKDTree(other, balanced_tree=False, compact_nodes=False).query(own[apart])[0]
    return distance


def _sorted(
    distance: NDArray[np.float64], area: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in the order of the distances."""
    order = np.argsort(distance, kind="stable")
    return distance[order], area[order]


def _kept_axes(shape: Sequence[int]) -> list[int]:
    """The axes along which there is more than one voxel, two of them at least."""
    axes = sorted(range(len(shape)), key=lambda axis: (shape[axis] == 1, axis))
    count = max(2, sum(size > 1 for size in shape))
    return sorted(axes[:count])
