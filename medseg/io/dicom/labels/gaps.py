"""Carry structures across the slices of a scan that were interpolated, on which nobody could draw.

With `--allow-gaps` a scan gets slices between its own (see `geometry.resampling`). Contours and segments lie on the
source's slices only: without this, the interpolated slices within a structure would be background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image
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
