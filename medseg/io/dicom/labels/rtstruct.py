"""RTSTRUCT: closed contours in patient coordinates, filled on the grid of a scan.

Which slice a contour belongs to follows from its position alone; numbers and references of images play no role. A voxel
belongs to a structure if its centre is inside an odd number of the contours that the structure has on that slice, so
that holes and islands come out right, whether they are contours of their own or joined to the outer one by a keyhole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.wording import counted
from medseg.io.values.overlay import OUTSIDE, Overlay
from medseg.io.values.rasterize import outlines

SLICE_TOLERANCE = 0.1
"""How far from a slice a contour may lie to belong to it, as a share of the distance of slices."""

_FLAT_TOLERANCE = 0.2
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_FEWEST_POINTS = 3
_LPS = np.array([-1.0, -1.0, 1.0])

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Roi:
    """A structure of an RTSTRUCT.

    Attributes:
        number: ROINumber.
        name: ROIName, spaces at the ends removed.
        contours: closed ones, (point, 3) x, y and z in RAS+ mm.
        others: {kind of contour: how many there are}, which enclose no area.
    """

    number: int
    name: str
    contours: list[Points]
    others: dict[str, int] = field(default_factory=dict)


def names_in(dataset: Any) -> dict[int, str]:
    """{ROINumber: ROIName} of every structure, in the order of the file."""
    return {
        int(roi.ROINumber): str(roi.get("ROIName", "") or "").strip() or f"ROI {int(roi.ROINumber)}"
        for roi in dataset.get("StructureSetROISequence") or []
    }


def rois_in(dataset: Any, numbers: Iterable[int]) -> list[Roi]:
    """The structures with these numbers, in the order of the file; one without contours has none."""
    wanted = {*numbers}
    rois = {number: Roi(number, name, []) for number, name in names_in(dataset).items() if number in wanted}
    for item in dataset.get("ROIContourSequence") or []:
        roi = rois.get(int(item.ReferencedROINumber))
        if roi is None:
            continue
        for contour in item.get("ContourSequence") or []:
            kind = str(contour.get("ContourGeometricType", "") or "of no kind")
            points = np.array(contour.get("ContourData") or [], dtype=np.float64)
            if kind not in _CLOSED or points.size < 3 * _FEWEST_POINTS or points.size % 3:
                kind = kind if kind not in _CLOSED else f"{kind} of fewer than three points"
                roi.others[kind] = roi.others.get(kind, 0) + 1
            else:
                roi.contours.append(points.reshape(-1, 3) * _LPS)
    return [*rois.values()]


def draw(rois: Sequence[Roi], values: Mapping[int, int], grid: Image, source: str) -> tuple[Overlay, list[str]]:
    """Fill the structures on a grid.

    Args:
        rois: which ones.
        values: {ROI number: value}.
        grid: of the scan; its voxels are not looked at.
        source: the file, for messages.

    Returns:
        The filled structures, and what was left out or is odd, in sentences.

    Raises:
        DataError: a structure's contours do not lie in slices of the scan, or nothing at all lies within it.
    """
    overlay, notes = Overlay(grid.shape_zyx), []
    to_index = np.linalg.inv(grid.affine)
    drawn = beyond = 0
    for roi in rois:
        if roi.others:
            kinds = ", ".join(f"{count} {kind}" for kind, count in roi.others.items())
            notes.append(f"{source}: contours of {roi.name} that enclose no area are left out: {kinds}")
        # ... x, y and z in voxels; the centre of the first voxel is at 0
        contours = [points @ to_index[:3, :3].T + to_index[:3, 3] for points in roi.contours]
        if not contours:
            notes.append(f"{source}: {roi.name} has no closed contour")
            continue
        slices, outside, remarks = _by_slice(roi, contours, grid, source)
        notes += remarks
        drawn, beyond = drawn + len(slices), beyond + outside
        axis = _slice_axis(contours)
        for number, parts in slices.items():
            plane = np.moveaxis(overlay.array, 2 - axis, 0)[number]
            flat = [np.delete(points, axis, axis=1) + 0.5 for points in parts]
            overlay.paint(plane, outlines(flat, plane.shape), values[roi.number])
    if beyond and not drawn:
        raise DataError(
            f"{source}: all {beyond} contours lie outside of the scan.",
            "It belongs to another scan, or to another series of this study.",
            "label grid",
        )
    return overlay, notes


def _by_slice(
    roi: Roi, contours: list[Points], grid: Image, source: str
) -> tuple[dict[int, list[Points]], int, list[str]]:
    """The contours of each slice, how many lie wholly outside the grid, and remarks."""
    axis = _slice_axis(contours)
    sizes = grid.shape_zyx[::-1]
    _check_flat(roi, contours, axis, source)
    slices: dict[int, list[Points]] = defaultdict(list)
    between: list[float] = []
    outside = 0
    for points in contours:
        place = float(points[:, axis].mean())
        low, high = points.min(axis=0), points.max(axis=0)
        across = [other for other in range(3) if other != axis]
        if any(high[other] < -0.5 or low[other] > sizes[other] - 0.5 for other in across) or not (
            -SLICE_TOLERANCE <= place <= sizes[axis] - 1 + SLICE_TOLERANCE
        ):
            outside += 1
        elif abs(place - round(place)) > SLICE_TOLERANCE:
            between.append(place)
        elif not any(_same(points, other) for other in slices[round(place)]):
            slices[round(place)].append(points)
    lonely = [place for place in between if not {int(np.floor(place)), int(np.ceil(place))} & slices.keys()]
    if lonely:
        raise DataError(
            f"{source}: {len(lonely)} of {len(contours)} contours of {roi.name} lie between slices of the scan, the "
            f"first {abs(lonely[0] - round(lonely[0])):.2g} slices from the nearest one; expected at most "
            f"{SLICE_TOLERANCE:g}.",
            "It was drawn on another series, or on a resampled one: take the scan that it was drawn on.",
            "label grid",
        )
    return slices, outside, _remarks(roi, slices, len(between), outside, source)


def _remarks(roi: Roi, slices: Mapping[int, list[Points]], between: int, outside: int, source: str) -> list[str]:
    said = []
    if between:
        said.append(f"{source}: {counted(between, 'contour')} of {roi.name} between slices that have some, left out")
    if outside:
        said.append(f"{source}: {counted(outside, 'contour')} of {roi.name} lie{'s' * (outside == 1)} {OUTSIDE}")
    gaps = sorted({*range(min(slices), max(slices) + 1)} - slices.keys()) if slices else []
    if gaps:
        said.append(
            f"{source}: {roi.name} has no contour on {len(gaps)} slice{'s' * (len(gaps) > 1)} between others, the "
            f"first is number {gaps[0]} from 0"
        )
    return said


def _slice_axis(contours: list[Points]) -> int:
    """The axis x, y or z of the grid (0 to 2) along which the contours extend least; z where all are alike."""
    extents = [max(float(np.ptp(points[:, axis])) for points in contours) for axis in (2, 1, 0)]
    return 2 - int(np.argmin(np.round(extents, 3)))


def _check_flat(roi: Roi, contours: list[Points], axis: int, source: str) -> None:
    extent = max(float(np.ptp(points[:, axis])) for points in contours)
    if extent > _FLAT_TOLERANCE:
        raise DataError(
            f"{source}: a contour of {roi.name} extends over {extent:.2g} slices of the scan; expected contours that "
            "lie in its slices.",
            "It was drawn in planes of another direction: take the series that it was drawn on.",
            "label grid",
        )


def _same(one: Points, other: Points) -> bool:
    """Whether a contour was stored twice, which would leave a hole where its area is."""
    kept = [np.unique(np.round(points, 2), axis=0) for points in (one, other)]  # wherever it begins and closes
    return kept[0].shape == kept[1].shape and bool(np.allclose(kept[0], kept[1], atol=0.02))
