"""How large each structure of an answer is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image
from medseg.core.labels import Labels


def structure_volumes(answer: Image, labels: Labels) -> dict[str, float]:
    """Volume of each structure of an answer: ml, or voxels (pixels) where the spacing is unknown."""
    counts = _count(answer.array)
    unit = answer.voxel_volume_ml or 1.0
    members = labels.members
    return {name: sum(counts.get(value, 0) for value in values) * unit for name, values in members.items()}


def _count(array: NDArray) -> dict[int, int]:
    """How often each value is there; plane by plane, as counting wants 64-bit numbers."""
    if array.dtype.itemsize > 2 or array.dtype.kind != "u":
        values, counts = np.unique(array, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    total = np.zeros(1 << 8 * array.dtype.itemsize, dtype=np.int64)
    for plane in array.reshape(-1, *array.shape[2:]):
        found = np.bincount(plane.ravel())
        total[: len(found)] += found
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}
