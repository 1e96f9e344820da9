"""Turn outlines into pixels: a pixel belongs to a shape if its centre lies inside.

Coordinates are those of the image plane in pixels: pixel (column 0, row 0) reaches from 0 to 1 along x and y, and its
centre is at (0.5, 0.5). So a rectangle from (0, 0) to (4, 3) is 12 pixels, and areas are right on average.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(point, 2): x and y."""


def polygon(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels have their centres inside a polygon, by the even-odd rule.

    Where the outline crosses itself, what is enclosed twice is outside. A centre on the outline itself belongs to the
    shape at its left and upper edges and not at its right and lower ones, so that adjacent shapes never share a pixel.

    Args:
        points: the corners (point, 2), x and y in pixels.
        shape: (height, width) of the image.

    Returns:
        (y, x) booleans.

    >>> int(polygon(np.array([[0, 0], [4, 0], [4, 3], [0, 3]]), (5, 5)).sum())
    12
    """
    height, width = shape
    starts, ends = points, np.roll(points, -1, axis=0)
    centres = np.arange(height) + 0.5
    # each row of centres crosses an edge at one x; a pixel is inside if an odd number of crossings lie left of it
    crosses = (starts[:, 1, None] <= centres) != (ends[:, 1, None] <= centres)  # (edge, row)
    edges, rows = np.nonzero(crosses)
    (x0, y0), (x1, y1) = starts[edges].T, ends[edges].T
    crossings = x0 + (centres[rows] - y0) * (x1 - x0) / (y1 - y0)
    first = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)  # the first pixel centre at or right of it
    toggles = np.zeros((height, width + 1), np.int32)
    np.add.at(toggles, (rows, first), 1)
    return np.cumsum(toggles, axis=1)[:, :width] % 2 == 1


def outlines(parts: Iterable[Points], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels lie inside an odd number of outlines.

    An outline within another is a hole, and one within that an island. This is the even-odd rule over all their edges
    at once.

    Args:
        parts: the outlines, each (point, 2), x and y in pixels.
        shape: (height, width) of the image.

    Returns:
        (y, x) booleans.
    """
    inside = np.zeros(shape, bool)
    for points in parts:
        inside ^= polygon(points, shape)
    return inside


def rectangle(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of an image of (height, width) lie between two opposite corners."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return polygon(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), shape)


def circle(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of an image of (height, width) are no farther from the first point than the second is."""
    (x, y), rim = points[:2]
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= ((points[0] - rim) ** 2).sum()
