"""Measure the volume, or in pictures the area, of each structure in a label map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image
from medseg.core.labels import Labels


def size_unit(answer: Image, dimensions: int) -> str:
    """Return the unit in which `structure_volumes` measures: `ml`, `mm2` for pictures, `pixels` (or voxels).

    Args:
        answer: label map (1, z, y, x).
        dimensions: of the data set that the model was made for: its pictures have no thickness.
    """
    if not answer.spacing_known:
        return "pixels"
    return "mm2" if dimensions == 2 and answer.shape_zyx[0] == 1 else "ml"


def structure_volumes(answer: Image, labels: Labels, dimensions: int = 3) -> dict[str, float]:
    """Return {structure: volume} in ml; the area in mm2 in pictures; in voxels (pixels) where the spacing is unknown.

    Args:
        answer: label map (1, z, y, x).
        labels: say which label values belong to a structure.
        dimensions: of the data set that the model was made for, see `size_unit`.
    """
    counts = _count(answer.array)
    unit = answer.voxel_volume_ml or 1.0
    if size_unit(answer, dimensions) == "mm2":
        unit = answer.spacing_mm[1] * answer.spacing_mm[2]
    return {name: sum(counts.get(value, 0) for value in values) * unit for name, values in labels.members.items()}


def _count(array: NDArray) -> dict[int, int]:
    """Count how often each value occurs."""
    if array.dtype.itemsize > 2 or array.dtype.kind != "u":
        values, counts = np.unique(array, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    total = np.zeros(1 << 8 * array.dtype.itemsize, dtype=np.int64)
    for plane in array.reshape(-1, *array.shape[2:]):  # plane by plane: bincount copies its input as 64-bit numbers
        plane_counts = np.bincount(plane.ravel())
        total[: len(plane_counts)] += plane_counts
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}
