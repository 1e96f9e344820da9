"""Resample a stack with a gantry tilt or gaps to a regular grid: shift slices in their planes, interpolate across gaps.

The planes of the grid are parallel to the slices, so that a slice that lies on the grid keeps its values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.geometry.stacking import Geometry, plane_axes, stack_geometry

INTERPOLATED = "interpolated slices"
"""In the record of a resampling: the numbers of the grid's slices that no source slice lies on."""
_SHIFT_DIGITS = 4
"""Shifts are rounded to so many decimals of a pixel: positions are decimal text, and a shift by 0.99999 pixels would
lose the outermost pixel to interpolation."""


@dataclass(frozen=True)
class Resampling:
    """Where the slices of a series lie on a regular grid whose planes are parallel to them.

    Attributes:
        affine: the affine of the grid, to RAS+ mm.
        shape_zyx: the shape (z, y, x) of the grid.
        source_shape: slices, rows and columns of the series.
        heights: (slice,) position of each source slice on the grid's z axis, in voxels.
        shifts_xy: (slice, 2) position of each source slice's first pixel on the grid, in voxels; 0 or more.
        source_slices: for each slice of the grid the index of the source slice that lies there; None where the grid's
            slice lies between two.
        record: what is done, for the record of the case.
    """

    affine: NDArray[np.float64]
    shape_zyx: tuple[int, int, int]
    source_shape: tuple[int, int, int]
    heights: NDArray[np.float64]
    shifts_xy: NDArray[np.float64]
    source_slices: tuple[int | None, ...]
    record: dict[str, Any] = field(default_factory=dict)

    def apply(self, array: NDArray, outside: float) -> tuple[NDArray[np.float32], int]:
        """Resample intensities, linearly along x and y (by parts of a pixel) and along z (between two slices).

        Args:
            array: (slice, row, column) of the source.
            outside: the value of voxels that no slice covers.

        Returns:
            (z, y, x) float32 on the grid, and how many voxels no slice covers.
        """
        result = np.empty(self.shape_zyx, np.float32)
        uncovered = 0
        planes: dict[int, tuple[NDArray, NDArray]] = {}
        for z, source in enumerate(self.source_slices):
            if source is None:
                above = int(np.searchsorted(self.heights, z))
                below, above = above - 1, min(above, len(self.heights) - 1)
                weight = (z - self.heights[below]) / (self.heights[above] - self.heights[below])
            else:
                below = above = source
                weight = 0.0
            # the plane above is that below of the next slice of the grid: kept, so that each is shifted once
            planes = {
                number: planes[number] if number in planes else self._shift(array, number, outside)
                for number in (below, above)
            }
            (lower, lower_covered), (upper, upper_covered) = planes[below], planes[above]
            result[z] = lower if weight == 0 else lower * (1 - weight) + upper * weight
            missing = ~(lower_covered & upper_covered)
            result[z][missing] = outside
            uncovered += int(missing.sum())
        return result, uncovered

    def to_source(self, labels: NDArray) -> NDArray:
        """Return label values of the grid (z, y, x) at the centres of the source's pixels: (slice, row, column)."""
        result = np.zeros(self.source_shape, labels.dtype)
        _, rows, columns = self.source_shape
        for number, (height, (x, y)) in enumerate(zip(self.heights, self.shifts_xy, strict=True)):
            z = int(np.clip(np.floor(height + 0.5), 0, self.shape_zyx[0] - 1))
            left, top = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
            part = labels[z, top : top + rows, left : left + columns]
            result[number, : part.shape[0], : part.shape[1]] = part
        return result

    def _shift(self, array: NDArray, number: int, outside: float) -> tuple[NDArray, NDArray[np.bool_]]:
        """Return a source slice shifted to the pixels of the grid, and a mask of the pixels that it covers.

        Args:
            array: (slice, row, column), the source.
            number: number of the slice.
            outside: the value of pixels that the slice does not cover.
        """
        x, y = self.shifts_xy[number]
        covered = np.zeros(self.shape_zyx[1:], dtype=bool)
        plane = np.full(self.shape_zyx[1:], outside, np.float64)
        left, top = int(np.floor(x)), int(np.floor(y))
        shifted = _shift_within_pixel(array[number].astype(np.float64), x - left, axis=1)
        shifted = _shift_within_pixel(shifted, y - top, axis=0)
        first_row, first_column = top + (y > top), left + (x > left)
        rows, columns = shifted.shape
        target = np.s_[first_row : first_row + rows, first_column : first_column + columns]
        plane[target], covered[target] = shifted, True
        return plane, covered


def plan_resampling(series: Series, geometry: Geometry, options: DicomOptions) -> Resampling | None:
    """Return how a series is resampled to a regular grid; None if it is regular, or `options` do not allow it.

    Args:
        series: slices sorted along their normal.
        geometry: the geometry of these slices.
        options: what is allowed.
    """
    needed_options = {problem.option for problem in series.problems}
    tilt = options.resample_tilt and "resample_tilt" in needed_options
    gaps = options.allow_gaps and "allow_gaps" in needed_options
    if not tilt and not gaps:
        return None
    heights_mm, length_mm = geometry.heights_mm, float(geometry.heights_mm[-1])
    step = geometry.regular_step_mm if gaps else geometry.mean_step_mm
    count = max(round(length_mm / step), 1) + 1
    step = length_mm / (count - 1)  # so that the grid ends at the last slice
    shear = np.array(geometry.shear_xy)
    pixel_y, pixel_x = geometry.spacing_zyx_mm[1:]
    shifts = np.outer(heights_mm, shear) / [pixel_x, pixel_y] if tilt else np.zeros((len(heights_mm), 2))
    shifts = np.round(shifts, _SHIFT_DIGITS)
    start = np.floor(shifts.min(axis=0))
    shifts -= start
    growth = np.ceil(shifts.max(axis=0)).astype(int)
    heights = heights_mm / step
    source_slices = _source_slices(heights, count)
    axes = plane_axes(series.slices[0])
    # An undone tilt leaves a grid at right angles; a tilt that is not undone (small) stays in the affine.
    direction = [0.0, 0.0, 1.0] if tilt else [*shear, 1.0]
    edges = np.stack([axes[:, 0] * pixel_x, axes[:, 1] * pixel_y, axes @ direction * step])
    origin = np.array(series.slices[0].position) + start @ edges[:2]
    rows, columns = series.shape_zyx[1:]
    record: dict[str, Any] = {"spacing_zyx_mm": [round(value, 6) for value in (step, pixel_y, pixel_x)]}
    if tilt:
        record["tilt undone, degrees"] = round(float(np.degrees(np.arctan(np.hypot(*shear)))), 4)
    if gaps:
        record["slices interpolated"] = source_slices.count(None)
        record[INTERPOLATED] = [z for z, source in enumerate(source_slices) if source is None]
    return Resampling(
        affine=LPS_TO_RAS @ affine_from(edges, origin),
        shape_zyx=(count, rows + int(growth[1]), columns + int(growth[0])),
        source_shape=series.shape_zyx,
        heights=heights,
        shifts_xy=shifts,
        source_slices=source_slices,
        record=record,
    )


def labels_on_slices(labels: NDArray, series: Series, options: DicomOptions) -> NDArray:
    """Return label values on the grid that a series is read on (z, y, x), brought back to its own slices.

    Each pixel of the source takes the value of the voxel that its centre lies in. Without resampling that is the array
    itself.

    Args:
        labels: (z, y, x).
        series: the series that was segmented.
        options: how it was read.
    """
    resampling = plan_resampling(series, stack_geometry(series.slices), options)
    return labels if resampling is None else resampling.to_source(labels)


def _shift_within_pixel(plane: NDArray[np.float64], fraction: float, axis: int) -> NDArray[np.float64]:
    """Shift a plane by a fraction of a pixel along an axis; the pixel that only one neighbour determines is lost."""
    if fraction == 0:
        return plane
    plane = np.moveaxis(plane, axis, 0)
    return np.moveaxis(plane[:-1] * fraction + plane[1:] * (1 - fraction), 0, axis)


def _source_slices(heights: NDArray[np.float64], count: int) -> tuple[int | None, ...]:
    """Return for each slice of the grid the source slice that lies there within the tolerance, or None."""
    slices: list[int | None] = []
    for z in range(count):
        nearest = int(np.argmin(np.abs(heights - z)))
        slices.append(nearest if abs(heights[nearest] - z) <= GRID_TOLERANCE_VOXELS else None)
    return tuple(slices)
