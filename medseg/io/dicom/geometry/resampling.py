"""A stack that leans or has gaps, on a regular grid: slices shifted in their planes, and interpolated across gaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.geometry.options import DicomOptions
from medseg.io.dicom.geometry.stacking import Geometry, basis
from medseg.io.dicom.listing.series import Series

_DIGITS = 4


@dataclass(frozen=True)
class Resampling:
    """Where the slices of a series lie on a regular grid whose planes are parallel to them.

    Attributes:
        affine: of the grid, to RAS+.
        shape_zyx: of the grid.
        source_shape: slices, rows and columns of the series.
        heights: (slices,) of each source slice on the grid's z axis, in voxels.
        shifts: (slices, 2) of each source slice's first pixel on the grid, along x and y, in voxels; 0 or more.
        same: for each slice of the grid the source slice that lies there; None where it is between two.
        record: what is done, in figures.
    """

    affine: NDArray[np.float64]
    shape_zyx: tuple[int, int, int]
    source_shape: tuple[int, int, int]
    heights: NDArray[np.float64]
    shifts: NDArray[np.float64]
    same: tuple[int | None, ...]
    record: dict[str, Any] = field(default_factory=dict)

    def apply(self, array: NDArray, outside: float) -> tuple[NDArray[np.float32], int]:
        """(slice, row, column) intensities on the grid, float32, and how many voxels no slice covers.

        Linear along x, y (shifts by a part of a pixel) and z (between the two neighbouring slices).
        """
        result = np.empty(self.shape_zyx, np.float32)
        filled = 0
        planes: dict[int, tuple[NDArray, NDArray]] = {}
        for z, source in enumerate(self.same):
            if source is None:
                above = int(np.searchsorted(self.heights, z))
                below, above = above - 1, min(above, len(self.heights) - 1)
                weight = (z - self.heights[below]) / (self.heights[above] - self.heights[below])
            else:
                below = above = source
                weight = 0.0
            planes = {
                number: planes[number] if number in planes else self._shifted(array, number, outside)
                for number in (below, above)
            }
            (one, covered), (other, also) = planes[below], planes[above]
            result[z] = one if weight == 0 else one * (1 - weight) + other * weight
            missing = ~(covered & also)
            result[z][missing] = outside
            filled += int(missing.sum())
        return result, filled

    def to_source(self, labels: NDArray) -> NDArray:
        """Label values (z, y, x) of the grid at the centres of the source's pixels: (slice, row, column)."""
        found = np.zeros(self.source_shape, labels.dtype)
        _, rows, columns = self.source_shape
        for number, (height, (x, y)) in enumerate(zip(self.heights, self.shifts, strict=True)):
            z = int(np.clip(np.floor(height + 0.5), 0, self.shape_zyx[0] - 1))
            left, top = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
            part = labels[z, top : top + rows, left : left + columns]
            found[number, : part.shape[0], : part.shape[1]] = part
        return found

    def _shifted(self, array: NDArray, number: int, outside: float) -> tuple[NDArray, NDArray[np.bool_]]:
        """A source slice on the grid's plane, and which of its pixels it covers."""
        x, y = self.shifts[number]
        covered = np.zeros(self.shape_zyx[1:], dtype=bool)
        plane = np.full(self.shape_zyx[1:], outside, np.float64)
        left, top = int(np.floor(x)), int(np.floor(y))
        moved = _moved(_moved(array[number].astype(np.float64), x - left, 1), y - top, 0)
        first_row, first_column = top + (y > top), left + (x > left)
        rows, columns = moved.shape
        place = np.s_[first_row : first_row + rows, first_column : first_column + columns]
        plane[place], covered[place] = moved, True
        return plane, covered


def _moved(plane: NDArray[np.float64], part: float, axis: int) -> NDArray[np.float64]:
    """A plane moved by a part of a pixel along an axis; the pixel that only one neighbour makes is lost."""
    if part == 0:
        return plane
    plane = np.moveaxis(plane, axis, 0)
    return np.moveaxis(plane[:-1] * part + plane[1:] * (1 - part), 0, axis)


def plan_resampling(series: Series, geometry: Geometry, options: DicomOptions) -> Resampling | None:
    """How a series that `options` allow to be resampled lies on a regular grid; None where it is regular."""
    needed = {one.option for one in series.problems}
    tilt = options.resample_tilt and "resample_tilt" in needed
    gaps = options.allow_gaps and "allow_gaps" in needed
    if not tilt and not gaps:
        return None
    assert geometry.steps is not None
    places, length = geometry.places_mm, float(geometry.places_mm[-1])
    step = geometry.steps.regular_mm if gaps else geometry.steps.mean_mm
    count = max(round(length / step), 1) + 1
    step = length / (count - 1)
    lean = np.array(geometry.lean)
    pixel_y, pixel_x = geometry.spacing_zyx[1:]
    shifts = np.outer(places, lean) / [pixel_x, pixel_y] if tilt else np.zeros((len(places), 2))
    shifts = np.round(shifts, _DIGITS)  # positions are decimal text: a whole pixel is one
    start = np.floor(shifts.min(axis=0))
    shifts -= start
    grown = np.ceil(shifts.max(axis=0)).astype(int)
    heights = places / step
    same = _same(heights, count)
    directions = basis(series.slices[0])
    column = [0.0, 0.0, 1.0] if tilt else [*lean, 1.0]
    edges = np.stack([directions[:, 0] * pixel_x, directions[:, 1] * pixel_y, directions @ column * step])
    origin = np.array(series.slices[0].position) + start @ edges[:2]
    rows, columns = series.shape_zyx[1:]
    record: dict[str, Any] = {"spacing_zyx_mm": [round(value, 6) for value in (step, pixel_y, pixel_x)]}
    if tilt:
        record["tilt undone, degrees"] = round(float(np.degrees(np.arctan(np.hypot(*lean)))), 4)
    if gaps:
        record["slices interpolated"] = same.count(None)
    return Resampling(
        affine=LPS_TO_RAS @ affine_from(edges, origin),
        shape_zyx=(count, rows + int(grown[1]), columns + int(grown[0])),
        source_shape=series.shape_zyx,
        heights=heights,
        shifts=shifts,
        same=same,
        record=record,
    )


def _same(heights: NDArray[np.float64], count: int) -> tuple[int | None, ...]:
    """For each slice of the grid the source slice that lies there, within the tolerance."""
    found: list[int | None] = []
    for z in range(count):
        nearest = int(np.argmin(np.abs(heights - z)))
        found.append(nearest if abs(heights[nearest] - z) <= GRID_TOLERANCE_VOXELS else None)
    return tuple(found)
