"""The frames of a DICOM SEG: what each shows, where it lies on a grid of voxels, and the grid that all of them make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import GRID_TOLERANCE_VOXELS, Image
from medseg.io.dicom.elements import values as elements
from medseg.io.values.overlay import Overlay

_MAX_SLICES = 1 << 14
_SAME_POSITION_MM = 0.01
_SAME_DIRECTION = 1e-4  # mm a voxel: frames whose rows and columns differ by more are turned against each other


@dataclass(frozen=True)
class Frame:
    """A plane of a segmentation.

    Attributes:
        number: the number of the frame, from 0.
        segment: ReferencedSegmentNumber; None in a LABELMAP, whose voxels hold the numbers of their segments.
        affine: 4x4, (column, row, 1 along the normal) to RAS+ mm; the third step is one slice thick.
        spacing_mm: SpacingBetweenSlices, if it is stored.
    """

    number: int
    segment: int | None
    affine: NDArray[np.float64]
    spacing_mm: float | None


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in a label map (z, y, x).

    Attributes:
        slice_axis: the axis of the map across the frame.
        slice_number: the slice on that axis.
        starts: where the frame's first row and first column lie in the map.
        steps: 1 or -1: the direction of the frame's rows and columns in the map.
        transposed: whether the frame's columns run along the earlier of the two axes of the map's plane.
    """

    slice_axis: int
    slice_number: int
    starts: tuple[int, int]
    steps: tuple[int, int]
    transposed: bool

    def paint(self, overlay: Overlay, mask: NDArray[np.bool_], value: int) -> int:
        """Add a segment of the frame to a map, and return how many of its voxels lie outside of it.

        Args:
            overlay: the map.
            mask: (row, column) of the frame.
            value: the value of the segment.
        """
        marked = int(np.count_nonzero(mask))
        if not 0 <= self.slice_number < overlay.array.shape[self.slice_axis]:
            return marked
        plane = np.moveaxis(overlay.array, self.slice_axis, 0)[self.slice_number]
        plane = plane.T if self.transposed else plane
        oriented = mask[:: self.steps[0], :: self.steps[1]]  # rows and columns in the directions of the map
        firsts = [
            start if step > 0 else start - size + 1
            for start, step, size in zip(self.starts, self.steps, mask.shape, strict=True)
        ]
        ranges = [
            (max(0, first), min(first + size, limit))
            for first, size, limit in zip(firsts, oriented.shape, plane.shape, strict=True)
        ]
        if any(low >= high for low, high in ranges):
            return marked
        (top, bottom), (left, right) = ranges
        target = plane[top:bottom, left:right]
        inside = oriented[top - firsts[0] : bottom - firsts[0], left - firsts[1] : right - firsts[1]]
        overlay.paint(target, inside, value)
        return marked - int(np.count_nonzero(inside))


def frames_of(dataset: Any, source: str) -> list[Frame]:
    """Return every frame with its segment and geometry, from its functional groups (PS3.3 C.7.6.16).

    Args:
        dataset: the SEG.
        source: the file, for messages.

    Raises:
        DataError: a frame has no position in the patient, as in microscopy.
    """
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    is_labelmap = str(dataset.get("SegmentationType", "")) == "LABELMAP"
    frames = []
    for number in range(int(dataset.get("NumberOfFrames") or 1)):
        groups = [*per_frame[number : number + 1], *shared]
        identification: Any = elements.functional_group(groups, "SegmentIdentificationSequence")
        position = elements.functional_group(groups, "PlanePositionSequence")
        orientation = elements.functional_group(groups, "PlaneOrientationSequence")
        measures = elements.functional_group(groups, "PixelMeasuresSequence")
        without_segment = identification is None and not is_labelmap
        if position is None or orientation is None or measures is None or without_segment:
            raise DataError(
                f"{source}: frame {number + 1} does not say where it lies in the patient, or which segment it shows.",
                "Expected a position, an orientation, a pixel spacing and a segment for each frame.",
            )
        segment = None if is_labelmap else int(identification.ReferencedSegmentNumber)
        spacing_mm = float(measures.get("SpacingBetweenSlices") or 0) or None
        frames.append(Frame(number, segment, _affine(position, orientation, measures, spacing_mm), spacing_mm))
    return frames


def place_on(frame: Frame, size: tuple[int, int], grid: Image) -> Placement | None:
    """Return where a frame lies on a grid; None if its voxels are none of the grid's.

    Args:
        frame: the frame.
        size: its rows and columns.
        grid: the grid of a label map.
    """
    to_index = np.linalg.inv(grid.affine) @ frame.affine
    steps = np.rint(to_index[:3, :2])
    # each of the frame's two directions must be one axis of the grid, and not the same one
    if (np.abs(steps).sum(axis=0) != 1).any() or (np.abs(steps).sum(axis=1) > 1).any():
        return None
    start = np.rint(to_index[:3, 3])
    corners = np.array(list(product((0, size[1] - 1), (0, size[0] - 1))))  # (column, row)
    exact = corners @ to_index[:3, :2].T + to_index[:3, 3]
    if np.abs(exact - (corners @ steps.T + start)).max() > GRID_TOLERANCE_VOXELS:
        return None
    column_axis, row_axis = (int(np.flatnonzero(steps[:, number])[0]) for number in (0, 1))  # x, y or z of the grid
    across = 3 - column_axis - row_axis
    return Placement(
        slice_axis=2 - across,  # arrays are (z, y, x)
        slice_number=int(start[across]),
        starts=(int(start[row_axis]), int(start[column_axis])),
        steps=(int(steps[row_axis, 1]), int(steps[column_axis, 0])),
        transposed=row_axis < column_axis,  # x before y: in an array (z, y, x) the column's axis comes first
    )


def grid_of_frames(frames: Sequence[Frame], size: tuple[int, int], source: str) -> Image:
    """Return the grid of the frames themselves, from the first to the last slice, slices without a frame included.

    Args:
        frames: all frames of the SEG.
        size: their rows and columns.
        source: the file, for messages.

    Raises:
        DataError: the frames do not lie one behind another at multiples of one step.
    """
    first = frames[0].affine
    normal = first[:3, 2] / np.linalg.norm(first[:3, 2])
    is_turned = any(not np.allclose(frame.affine[:3, :2], first[:3, :2], atol=_SAME_DIRECTION) for frame in frames)
    positions = np.array([frame.affine[:3, 3] for frame in frames])
    heights = positions @ normal
    order = np.argsort(heights)
    origin = positions[order[0]]
    step = _slice_step(heights, frames[0].spacing_mm, float(np.linalg.norm(first[:3, 2])))
    numbers = (heights - heights[order[0]]) / step
    steps = round(float(numbers.max()))
    step_vector = (positions[order[-1]] - origin) / steps if steps else normal * step
    ideal = origin + np.rint(numbers)[:, None] * step_vector
    error_mm = float(np.linalg.norm(positions - ideal, axis=1).max())
    if is_turned or error_mm > GRID_TOLERANCE_VOXELS * min(step, *np.linalg.norm(first[:3, :2], axis=0)):
        raise DataError(
            f"{source}: its frames lie at different angles or unequal steps ({error_mm:.3g} mm off), and make no grid.",
            "Give it together with the series that it was drawn on.",
            "label grid",
        )
    if steps >= _MAX_SLICES:
        raise DataError(f"{source}: its frames span {steps} slices of {step:.3g} mm; expected at most {_MAX_SLICES}.")
    affine = first.copy()
    affine[:3, 2], affine[:3, 3] = step_vector, origin
    return Image(np.broadcast_to(np.uint8(0), (1, steps + 1, *size)), affine)


def _slice_step(heights_mm: NDArray[np.float64], declared: float | None, thickness: float) -> float:
    """Return the distance of slices in mm.

    It is the first of the declared one, the smallest gap and the thickness of which all gaps are multiples.
    """
    gaps = np.diff(np.unique(np.round(heights_mm, 3)))
    gaps = gaps[gaps > _SAME_POSITION_MM]
    if not gaps.size:
        return declared or thickness
    smallest = float(gaps.min())
    for step in (declared, smallest, thickness):
        if step and np.abs(gaps / step - np.rint(gaps / step)).max() <= GRID_TOLERANCE_VOXELS:
            return step
    return smallest


def _affine(position: Any, orientation: Any, measures: Any, spacing_mm: float | None) -> NDArray[np.float64]:
    """Return the affine of a frame (PS3.3 C.7.6.2.1.1), with a third step of one slice along the normal."""
    along_row, along_column = np.array(orientation.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
    thickness = spacing_mm or float(measures.get("SliceThickness") or 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * between_columns, along_column * between_rows
    affine[:3, 2] = np.cross(along_row, along_column) * thickness
    affine[:3, 3] = np.array(position.ImagePositionPatient, dtype=np.float64)
    return LPS_TO_RAS @ affine
