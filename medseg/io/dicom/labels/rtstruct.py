"""Fill the closed contours of an RTSTRUCT on the grid of a scan (PS3.3 C.8.8.5 and C.8.8.6).

Which slice a contour belongs to follows from its position alone; the numbers and references of images play no part. A
voxel belongs to a structure if its centre is inside an odd number of the contours that the structure has on that slice:
holes and islands come out right, whether they are contours of their own or joined to the outer one by a keyhole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import Image
from medseg.core.wording import counted
from medseg.io.values.overlay import OUTSIDE, Overlay
from medseg.io.values.rasterize import outlines

SLICE_TOLERANCE = 0.1
"""How far from a slice a contour may lie to belong to it, as a share of the distance of slices."""
_TOLERANCE_MM, _MAX_TOLERANCE = 0.2, 0.3
"""Planning systems draw all contours a little beside their slices (0.13 mm): so far is accepted in any case, up to this
share of the distance of slices, at which the nearest slice is still the one that was meant."""

_FLAT_TOLERANCE = 0.2  # how far a contour may extend across slices, as a share of their distance
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # ContourGeometricType, PS3.3 C.8.8.6.1
_MIN_POINTS = 3
_DUPLICATE_VOXELS = 0.02  # two contours whose points differ by no more are one, written twice

Points = NDArray[np.float64]
"""(point, 3) x, y and z."""


@dataclass(frozen=True)
class Roi:
    """A structure of an RTSTRUCT.

    Attributes:
        number: ROINumber.
        name: ROIName, without spaces at its ends.
        contours: closed ones, (point, 3) x, y and z in RAS+ mm.
        others: {kind of contour: how many there are}, which enclose no area.
    """

    number: int
    name: str
    contours: list[Points]
    others: dict[str, int] = field(default_factory=dict)


def roi_names(dataset: Any) -> dict[int, str]:
    """Return {ROINumber: ROIName} of every structure, in the order of the file."""
    return {
        int(roi.ROINumber): str(roi.get("ROIName", "") or "").strip() or f"ROI {int(roi.ROINumber)}"
        for roi in dataset.get("StructureSetROISequence") or []
    }


def rois_of(dataset: Any, numbers: Iterable[int], source: str) -> list[Roi]:
    """Return the structures with these ROI numbers, in the order of the file; a structure may have no contours.

    Args:
        dataset: the RTSTRUCT.
        numbers: the numbers of the structures that are meant.
        source: the file, for messages.

    Raises:
        DataError: contours belong to no structure, or one is damaged. Without them, a structure would be background.
    """
    chosen, names = {*numbers}, roi_names(dataset)
    rois = {number: Roi(number, name, []) for number, name in names.items() if number in chosen}
    for item in dataset.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        if number not in names and item.get("ContourSequence"):
            raise DataError(
                f"{source} has contours of the ROI {number}, which its list of structures does not name.",
                "Export it again: what they show is not known.",
                "unknown label",
            )
        roi = rois.get(number)
        if roi is None:
            continue
        for contour in item.get("ContourSequence") or []:
            _add_contour(roi, contour, source)
    return [*rois.values()]


def _add_contour(roi: Roi, contour: Any, source: str) -> None:
    """Add a contour to its structure, or count it there if it encloses no area.

    Raises:
        DataError: the coordinates of a closed one are no points.
    """
    kind = str(contour.get("ContourGeometricType", "") or "of no kind")
    if kind not in _CLOSED:
        roi.others[kind] = roi.others.get(kind, 0) + 1
        return
    numbers = np.array(contour.get("ContourData") or [], dtype=np.float64)
    if numbers.size % 3:
        raise DataError(
            f"{source}: a contour of {roi.name} has {numbers.size} coordinates, which are no points (x, y, z).",
            "The file is damaged or was cut off: copy or export it again.",
            "damaged",
        )
    if numbers.size < 3 * _MIN_POINTS:
        few = f"{kind} of fewer than three points"
        roi.others[few] = roi.others.get(few, 0) + 1
    else:
        roi.contours.append(numbers.reshape(-1, 3) * np.diag(LPS_TO_RAS)[:3])


def fill_contours(
    rois: Sequence[Roi], values: Mapping[int, int], grid: Image, source: str
) -> tuple[Overlay, list[str]]:
    """Fill the structures on a grid.

    Args:
        rois: the structures.
        values: {ROI number: value}.
        grid: the grid of the scan; its voxels play no part.
        source: the file, for messages.

    Returns:
        The filled structures, and remarks on what was left out, in sentences.

    Raises:
        DataError: a structure's contours do not lie in slices of the scan, or none at all lies within it.
    """
    overlay, notes = Overlay(grid.shape_zyx), []
    to_index = np.linalg.inv(grid.affine)
    filled = outside = 0
    for roi in rois:
        if roi.others:
            kinds = ", ".join(f"{count} {kind}" for kind, count in roi.others.items())
            notes.append(f"{source}: contours of {roi.name} that enclose no area are left out: {kinds}")
        # x, y and z in voxels; the centre of the first voxel is at 0
        contours = [points @ to_index[:3, :3].T + to_index[:3, 3] for points in roi.contours]
        if not contours:
            notes.append(f"{source}: {roi.name} has no closed contour")
            continue
        axis = _slice_axis(contours)
        slices, roi_outside, remarks = _by_slice(roi, contours, axis, grid, source)
        notes += remarks
        filled, outside = filled + len(slices), outside + roi_outside
        for number, parts in slices.items():
            plane = np.moveaxis(overlay.array, 2 - axis, 0)[number]
            # the outlines are filled in coordinates in which the corner of the first pixel is at 0
            flat = [np.delete(points, axis, axis=1) + 0.5 for points in parts]
            overlay.paint(plane, outlines(flat, plane.shape), values[roi.number])
    if outside and not filled:
        raise DataError(
            f"{source}: all {outside} contours lie outside of the scan.",
            "It belongs to another scan, or to another series of this study.",
            "label grid",
        )
    return overlay, notes


def _by_slice(
    roi: Roi, contours: Sequence[Points], axis: int, grid: Image, source: str
) -> tuple[dict[int, list[Points]], int, list[str]]:
    """Return {slice: its contours}, how many contours lie wholly outside of the grid, and remarks.

    Args:
        roi: the structure.
        contours: in voxels.
        axis: x, y or z (0 to 2), across the contours.
        grid: the grid of the scan.
        source: the file, for messages.
    """
    sizes = grid.shape_zyx[::-1]
    in_plane = [other for other in range(3) if other != axis]
    _check_flat(roi, contours, axis, source)
    slices: dict[int, _Slice] = defaultdict(_Slice)
    between: list[float] = []
    outside = 0
    step_mm = grid.spacing_mm[2 - axis]
    tolerance = max(SLICE_TOLERANCE, min(_TOLERANCE_MM / step_mm, _MAX_TOLERANCE))
    farthest = 0.0
    for points in contours:
        height = float(points[:, axis].mean())
        low, high = points.min(axis=0), points.max(axis=0)
        beside = any(high[other] < -0.5 or low[other] > sizes[other] - 0.5 for other in in_plane)
        distance = abs(height - round(height))
        if beside or not -tolerance <= height <= sizes[axis] - 1 + tolerance:
            outside += 1
            continue
        if distance > tolerance:
            between.append(height)
            continue
        farthest = max(farthest, distance)
        slices[round(height)].add(points)
    # Contours drawn more densely than the scan has slices are left out; a contour whose neighbouring slices have none
    # would be lost, so that the structure is refused.
    lost = [height for height in between if not {int(np.floor(height)), int(np.ceil(height))} & slices.keys()]
    if lost:
        raise DataError(
            f"{source}: {len(lost)} of {len(contours)} contours of {roi.name} lie between slices of the scan, the "
            f"first {abs(lost[0] - round(lost[0])):.2g} slices from the nearest one; expected at most "
            f"{tolerance:.2g}.",
            "It was drawn on another series, or on a resampled one: take the scan that it was drawn on.",
            "label grid",
        )
    remarks = _remarks(roi, slices, len(between), outside, source)
    if farthest > SLICE_TOLERANCE:
        remarks.append(
            f"{source}: contours of {roi.name} lie up to {farthest * step_mm:.2g} mm beside their slices; each was "
            "taken to the nearest"
        )
    return {number: one.contours for number, one in slices.items()}, outside, remarks


def _remarks(roi: Roi, slices: Mapping[int, _Slice], between: int, outside: int, source: str) -> list[str]:
    remarks = []
    if between:
        remarks.append(f"{source}: {counted(between, 'contour')} of {roi.name} between slices that have some, left out")
    if outside:
        remarks.append(f"{source}: {counted(outside, 'contour')} of {roi.name} lie{'s' * (outside == 1)} {OUTSIDE}")
    gaps = sorted({*range(min(slices), max(slices) + 1)} - slices.keys()) if slices else []
    if gaps:
        remarks.append(
            f"{source}: {roi.name} has no contour on {len(gaps)} slice{'s' * (len(gaps) > 1)} between others, the "
            f"first is number {gaps[0]} from 0"
        )
    return remarks


def _slice_axis(contours: Sequence[Points]) -> int:
    """Return the axis x, y or z of the grid (0 to 2) along which the contours extend least; z where all are alike."""
    extents = [max(float(np.ptp(points[:, axis])) for points in contours) for axis in (2, 1, 0)]
    return 2 - int(np.argmin(np.round(extents, 3)))


def _check_flat(roi: Roi, contours: Sequence[Points], axis: int, source: str) -> None:
    extent = max(float(np.ptp(points[:, axis])) for points in contours)
    if extent > _FLAT_TOLERANCE:
        raise DataError(
            f"{source}: a contour of {roi.name} extends over {extent:.2g} slices of the scan; expected contours that "
            "lie in its slices.",
            "It was drawn in planes of another direction: take the series that it was drawn on.",
            "label grid",
        )


@dataclass
class _Slice:
    """The contours of a slice, each once: filled by the odd-even rule, the area of one stored twice would be a hole.

    Attributes:
        contours: as they were stored.
        corners: {number of corners: the corners of each contour that has so many, sorted, wherever it begins}.
    """

    contours: list[Points] = field(default_factory=list)
    corners: dict[int, list[Points]] = field(default_factory=dict)

    def add(self, contour: Points) -> None:
        """Keep a contour that is not there yet."""
        corners = np.unique(np.round(contour, 2), axis=0)
        alike = self.corners.setdefault(len(corners), [])
        if alike and np.isclose(corners, np.stack(alike), atol=_DUPLICATE_VOXELS).all(axis=(1, 2)).any():
            return
        alike.append(corners)
        self.contours.append(contour)
