"""Masks that are stored as colours but hold one value per voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LUMINANCE = np.array([299, 587, 114])  # in thousandths: red, green and blue in a grey level (ITU-R BT.601)


def one_value(array: NDArray) -> NDArray:
    """(3, z, y, x) to (1, z, y, x) for grey levels in three channels, and for one colour on black.

    A single colour is one structure, whose value is the colour's luminance. Several colours are left as they are.
    """
    if (array == array[:1]).all():
        return array[:1]
    marked: NDArray[np.bool_] = np.any(array != 0, axis=0)
    first = array[(slice(None), *(places[0] for places in np.nonzero(marked)))]
    if (array[:, marked] != first[:, np.newaxis]).any():
        return array
    # the luminance keeps the structures of two files apart that each use one colour
    value = max(1, round(float(first @ _LUMINANCE) / 1000))
    return (marked[np.newaxis] * value).astype(array.dtype)
