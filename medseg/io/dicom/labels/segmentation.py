"""DICOM SEG: frames of segments, put where their positions say, on the grid of a scan or on one of their own.

The order of the frames plays no role, and where some are missing, nothing is marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import GRID_TOLERANCE_VOXELS, Image
from medseg.io.dicom.elements.dataset import why
from medseg.io.values.overlay import OUTSIDE, Overlay

FRACTION = 0.5
"""Share of the largest possible value from which on a voxel of a FRACTIONAL segmentation belongs to its segment."""

_MOST_SLICES = 1 << 14
_SAME_PLACE_MM = 0.01


@dataclass(frozen=True)
class Frame:
    """A plane of a segmentation.

    Attributes:
        number: of the frame, from 0.
        segment: ReferencedSegmentNumber; None where voxels hold the numbers of their segments.
        affine: 4x4, (column, row, 1 along the normal) to RAS+ mm; the third step is one slice thick.
        spacing_mm: SpacingBetweenSlices, where it is stored.
    """

    number: int
    segment: int | None
    affine: NDArray[np.float64]
    spacing_mm: float | None


def names_in(dataset: Any) -> dict[int, str]:
    """{SegmentNumber: SegmentLabel}, without the background of a label map."""
    found = {
        int(item.SegmentNumber): str(item.get("SegmentLabel", "") or "").strip() or f"segment {int(item.SegmentNumber)}"
        for item in dataset.get("SegmentSequence") or []
    }
    return {number: name for number, name in found.items() if number}


def draw(
    dataset: Any, values: Mapping[int, int], grid: Image | None, source: str, fraction: float = FRACTION
) -> tuple[Overlay, Image, list[str]]:
    """Put the frames of segments on a grid.

    Args:
        dataset: the file, pixels included.
        values: {segment number: value}; others are left out.
        grid: of the scan; where some frame does not lie on its voxels, or there is none, the frames' own grid is taken.
        source: the file, for messages.
        fraction: see `FRACTION`.

    Returns:
        The segments, the grid that they lie on, and remarks in sentences.

    Raises:
        DataError: frames have no positions or make no regular grid, or the pixels cannot be decoded.
    """
    frames = [frame for frame in frames_of(dataset, source) if frame.segment is None or frame.segment in values]
    size = int(dataset.Rows), int(dataset.Columns)
    placed = None if grid is None else [place_on(frame, size, grid) for frame in frames]
    if placed is None or grid is None or any(place is None for place in placed):
        every = frames_of(dataset, source)
        grid = own_grid(dataset, every, size, source)
        placed = [place_on(frame, size, grid) for frame in frames]
    overlay, notes = Overlay(grid.shape_zyx), []
    beyond = 0
    for frame, place, pixels in zip(frames, placed, _pixels(dataset, frames, source), strict=True):
        if place is None:
            raise DataError(f"{source}: its frames do not lie on one grid.", _EXPORT, "label grid")
        for segment, mask in _masks(dataset, frame, pixels, values, fraction, source):
            beyond += place.paint(overlay, mask, values[segment])
    if str(dataset.get("SegmentationType", "")) == "FRACTIONAL":
        notes.append(f"{source} is fractional: what is at least {fraction:g} of the largest value is the segment")
    if beyond:
        notes.append(f"{source}: {beyond} marked voxels lie {OUTSIDE}")
        if not overlay.array.any():
            raise DataError(
                f"{source}: everything that it marks lies outside of the scan.",
                "It belongs to another scan, or to another series of this study.",
                "label grid",
            )
    return overlay, grid, notes


_EXPORT = "Export it anew, on the grid of the series that it belongs to."


def frames_of(dataset: Any, source: str) -> list[Frame]:
    """Every frame with its segment and place.

    Raises:
        DataError: a frame has no place in the patient, as in microscopy.
    """
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    labelmap = str(dataset.get("SegmentationType", "")) == "LABELMAP"
    frames = []
    for number in range(int(dataset.get("NumberOfFrames") or 1)):
        own = groups[number] if number < len(groups) else None
        segment = _of_group("SegmentIdentificationSequence", own, shared)
        place = _of_group("PlanePositionSequence", own, shared)
        turn = _of_group("PlaneOrientationSequence", own, shared)
        measures = _of_group("PixelMeasuresSequence", own, shared)
        if place is None or turn is None or measures is None or (segment is None and not labelmap):
            raise DataError(
                f"{source}: frame {number + 1} does not say where it lies in the patient, or which segment it shows.",
                "Expected a position, an orientation, a pixel spacing and a segment for each frame.",
            )
        identity = None if labelmap else int(segment.ReferencedSegmentNumber)
        spacing = float(measures.get("SpacingBetweenSlices") or 0) or None
        frames.append(Frame(number, identity, _affine(place, turn, measures, spacing), spacing))
    return frames


@dataclass(frozen=True)
class Place:
    """Where a frame lies in a label map (z, y, x): its slice, and for rows and columns axis, start and direction."""

    slice_axis: int
    slice_number: int
    starts: tuple[int, int]
    steps: tuple[int, int]
    transposed: bool

    def paint(self, overlay: Overlay, mask: NDArray[np.bool_], value: int) -> int:
        """Add a frame's segment, and return how many of its voxels lie outside of the map."""
        marked = int(np.count_nonzero(mask))
        if not 0 <= self.slice_number < overlay.array.shape[self.slice_axis]:
            return marked
        plane = np.moveaxis(overlay.array, self.slice_axis, 0)[self.slice_number]
        plane = plane.T if self.transposed else plane  # (row, column), in the directions of the map
        kept = mask[:: self.steps[0], :: self.steps[1]]
        firsts = [
            start if step > 0 else start - size + 1
            for start, step, size in zip(self.starts, self.steps, mask.shape, strict=True)
        ]
        ranges = [
            (max(0, first), min(first + size, limit))
            for first, size, limit in zip(firsts, kept.shape, plane.shape, strict=True)
        ]
        if any(low >= high for low, high in ranges):
            return marked
        (top, bottom), (left, right) = ranges
        target = plane[top:bottom, left:right]
        inside = kept[top - firsts[0] : bottom - firsts[0], left - firsts[1] : right - firsts[1]]
        overlay.paint(target, inside, value)
        return marked - int(np.count_nonzero(inside))


def place_on(frame: Frame, size: tuple[int, int], grid: Image) -> Place | None:
    """Where a frame of (rows, columns) lies on a grid; None if its voxels are none of the grid's."""
    to_index = np.linalg.inv(grid.affine) @ frame.affine
    steps = np.rint(to_index[:3, :2])
    if (np.abs(steps).sum(axis=0) != 1).any() or (np.abs(steps).sum(axis=1) > 1).any():
        return None
    start = np.rint(to_index[:3, 3])
    corners = np.array(list(product((0, size[1] - 1), (0, size[0] - 1))))
    exact = corners @ to_index[:3, :2].T + to_index[:3, 3]
    if np.abs(exact - (corners @ steps.T + start)).max() > GRID_TOLERANCE_VOXELS:
        return None
    column, row = (int(np.flatnonzero(steps[:, number])[0]) for number in (0, 1))
    across = 3 - column - row
    return Place(
        slice_axis=2 - across,
        slice_number=int(start[across]),
        starts=(int(start[row]), int(start[column])),
        steps=(int(steps[row, 1]), int(steps[column, 0])),
        transposed=row < column,  # x before y: in an array (z, y, x) without the slice axis the column comes first
    )


def own_grid(dataset: Any, frames: Sequence[Frame], size: tuple[int, int], source: str) -> Image:
    """The grid of the frames themselves: from the first to the last slice, those included that have no frame.

    Raises:
        DataError: the frames do not lie one behind another at multiples of one step.
    """
    first = frames[0].affine
    normal = first[:3, 2] / np.linalg.norm(first[:3, 2])
    turned = [frame for frame in frames if not np.allclose(frame.affine[:3, :2], first[:3, :2], atol=1e-4)]
    places = np.array([frame.affine[:3, 3] for frame in frames])
    along = places @ normal
    order = np.argsort(along)
    origin = places[order[0]]
    step = _step(along, frames[0].spacing_mm, float(np.linalg.norm(first[:3, 2])))
    numbers = (along - along[order[0]]) / step
    steps = round(float(numbers.max()))
    way = (places[order[-1]] - origin) / steps if steps else normal * step
    ideal = origin + np.rint(numbers)[:, None] * way
    apart = float(np.linalg.norm(places - ideal, axis=1).max())
    if turned or apart > GRID_TOLERANCE_VOXELS * min(step, *np.linalg.norm(first[:3, :2], axis=0)):
        raise DataError(
            f"{source}: its frames lie at different angles or unequal steps ({apart:.3g} mm off), and make no grid.",
            "Give it together with the series that it was drawn on.",
            "label grid",
        )
    if steps >= _MOST_SLICES:
        raise DataError(f"{source}: its frames span {steps} slices of {step:.3g} mm; expected at most {_MOST_SLICES}.")
    affine = first.copy()
    affine[:3, 2], affine[:3, 3] = way, origin
    return Image(np.broadcast_to(np.uint8(0), (1, steps + 1, *size)), affine)


def _step(along: NDArray[np.float64], declared: float | None, thickness: float) -> float:
    """The distance of slices in mm: of those declared, smallest and thickness the first that all are multiples of."""
    gaps = np.diff(np.unique(np.round(along, 3)))
    gaps = gaps[gaps > _SAME_PLACE_MM]
    if not gaps.size:
        return declared or thickness
    smallest = float(gaps.min())
    for step in (declared, smallest, thickness):
        if step and np.abs(gaps / step - np.rint(gaps / step)).max() <= GRID_TOLERANCE_VOXELS:
            return step
    return smallest


def _of_group(name: str, own: Any, shared: Any) -> Any:
    """An item of a frame's functional groups, else of those that all frames share."""
    for group in (own, shared):
        if group is not None and group.get(name):
            return group[name].value[0]
    return None


def _affine(place: Any, turn: Any, measures: Any, spacing: float | None) -> NDArray[np.float64]:
    row, column = np.array(turn.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
    thickness = spacing or float(measures.get("SliceThickness") or 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2] = np.cross(row, column) * thickness
    affine[:3, 3] = np.array(place.ImagePositionPatient, dtype=np.float64)
    return LPS_TO_RAS @ affine


def _pixels(dataset: Any, frames: Sequence[Frame], source: str) -> Iterator[NDArray]:
    """(row, column) of each of the frames in turn."""
    from pydicom.pixels import iter_pixels

    try:
        yield from iter_pixels(dataset, indices=[frame.number for frame in frames], raw=True)
    except Exception as error:  # decoders raise a dozen unrelated types
        raise DataError(f"{source}: its pixels cannot be decoded: {why(error).removesuffix('.')}.") from None


def _masks(
    dataset: Any, frame: Frame, pixels: NDArray, values: Mapping[int, int], fraction: float, source: str
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The segments in a frame, by number."""
    kind = str(dataset.get("SegmentationType", ""))
    if frame.segment is None:
        for segment in np.unique(pixels).tolist():
            if segment in values:
                yield segment, pixels == segment
    elif kind == "FRACTIONAL":
        yield frame.segment, pixels >= fraction * float(dataset.get("MaximumFractionalValue") or 255)
    elif kind == "BINARY":
        yield frame.segment, pixels != 0
    else:
        raise DataError(f"{source}: its segments are stored as {kind!r}; expected BINARY, FRACTIONAL or LABELMAP.")
