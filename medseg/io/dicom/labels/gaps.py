"""Carry structures across the slices of a scan that were interpolated, on which nobody could draw.

With `--allow-gaps` a scan gets slices between its own (see `geometry.resampling`). Contours and segments lie on the
source's slices only: without this, the interpolated slices within a structure would be background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import GRID_TOLERANCE_VOXELS, Image
from medseg.core.wording import counted
from medseg.io.dicom.geometry.resampling import INTERPOLATED
from medseg.io.values.overlay import Overlay


def interpolated_slices(grid: Image) -> list[int]:
    """Return the numbers (along z) of the slices of a scan that lie between two of its source's, from its record."""
    records = [grid.record, *(value for value in grid.record.values() if isinstance(value, dict))]
    indices: set[int] = set()
    for record in records:  # of the scan, and of each of several channels
        resampled = record.get("resampled")
        if isinstance(resampled, dict):
            indices.update(resampled.get(INTERPOLATED, ()))
    return sorted(z for z in indices if z < grid.shape_zyx[0])


def slices_to_bridge(overlay: Overlay, drawn_on: Image, scan: Image | None, source: str) -> list[int]:
    """Return the numbers (along z) of the slices of a drawing that lie on interpolated slices of its scan.

    A SEG of a scan with a gantry tilt has a grid of its own, whose slices are those of the scan, shifted.

    Args:
        overlay: the drawing.
        drawn_on: its grid.
        scan: the grid of the scan; None if there is none.
        source: the file, for messages.

    Raises:
        DataError: slices without structures lie between others, and nothing tells whether the scan lacks these.
    """
    slices = [] if scan is None else interpolated_slices(scan)
    if scan is None or not slices or drawn_on is scan:
        return slices
    along_x, along_y, along_z, offset = (np.linalg.inv(scan.affine) @ drawn_on.affine)[2]
    count, rows, columns = drawn_on.shape_zyx
    z = along_z * np.arange(count) + offset
    lean = abs(along_x) * (columns - 1) + abs(along_y) * (rows - 1)
    if lean + np.abs(z - np.rint(z)).max() <= GRID_TOLERANCE_VOXELS:
        return np.flatnonzero(np.isin(np.rint(z), slices)).tolist()
    marked = np.flatnonzero(overlay.array.any(axis=(1, 2)))
    if marked.size and marked[-1] - marked[0] >= marked.size:
        raise DataError(
            f"{source}: structures are absent on slices between others, and {counted(len(slices), 'slice')} of the "
            "scan were interpolated; its grid is another, so that nothing tells whether these are the same.",
            "Expected an RTSTRUCT, or a SEG on the slices of the scan.",
            "label grid",
        )
    return []


def bridge_gaps(overlay: Overlay, slices: list[int]) -> int:
    """Interpolate each structure on these slices from the nearest other slices above and below, if it is on both.

    Shapes are interpolated, by signed distances to their outlines (Raya and Udupa 1990). A slice that holds the
    structure already is left as it is.

    Args:
        overlay: the structures, changed in place.
        slices: numbers of interpolated slices along z.

    Returns:
        On how many slices a structure was interpolated.
    """
    count = overlay.array.shape[0]
    others = [z for z in range(count) if z not in set(slices)]
    filled: set[int] = set()
    for value in sorted({value for together in overlay.sets for value in together}):
        holding = [number for number, together in enumerate(overlay.sets) if value in together]
        for z in slices:
            below = max((other for other in others if other < z), default=None)
            above = min((other for other in others if other > z), default=None)
            if below is None or above is None:
                continue
            middle, low, high = (np.isin(overlay.array[number], holding) for number in (z, below, above))
            if middle.any() or not low.any() or not high.any():
                continue
            weight = (z - below) / (above - below)
            distance = (1 - weight) * _signed_distance(low) + weight * _signed_distance(high)
            mask = distance > 0
            if mask.any():
                overlay.paint(overlay.array[z], mask, value)
                filled.add(z)
    return len(filled)


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance to the outline in pixels, positive inside; pixels at the outline are half a pixel from it."""
    from scipy.ndimage import distance_transform_edt

    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    return np.where(mask, inside - 0.5, 0.5 - outside)
