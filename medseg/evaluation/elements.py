"""Cut the surface of a mask into small flat pieces, one for each corner point of voxels that lies on it.

Definition of Nikolov et al. 2018 (arXiv:1809.04430, DeepMind's surface-distance): a corner where 8 voxels meet (4 in
2D) is on the surface if some of them are inside and some are not. Which ones gives a code, and the code a surface
piece inside the cube between the voxels' centres: its area, in 2D its length, weighs the corner's distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, ...]


def neighbour_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return which of the voxels around each corner point are inside, as the bits of a code.

    Args:
        mask: (z, y, x) or (y, x); beyond the mask nothing is inside.

    Returns:
        One code a corner point, larger than the mask by one along each axis. Bit k is set if the voxel before the
        corner (0) or behind it (1) along each axis is inside, with k = 4 z + 2 y + x, in 2D 2 y + x.
    """
    codes = np.pad(mask.view(np.uint8), 1)
    # The last axis first: each pass joins two neighbours, whose codes have 1, 2, then 4 bits, into one code.
    for axis in reversed(range(mask.ndim)):
        slices = np.moveaxis(codes, axis, 0)
        codes = np.moveaxis(slices[:-1] | (slices[1:] << np.uint8(1 << (mask.ndim - 1 - axis))), 0, axis)
    return codes


def full_code(dimensions: int) -> int:
    """Return the code of a corner point with every voxel around it inside.

    >>> full_code(2), full_code(3)
    (15, 255)
    """
    return 2 ** (2**dimensions) - 1


@lru_cache(maxsize=64)
def element_areas(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the area in mm² (the length in mm in 2D) of the surface piece of each code.

    Args:
        spacing_mm: distance of voxels along each axis; two or three axes.

    Returns:
        One area for each of the 16 or 256 codes; 0 for the first and the last, which are not on the surface.

    >>> element_areas((1.0, 1.0))[[0, 1, 3, 15]].round(3).tolist()  # nothing, a corner, a straight edge, everything
    [0.0, 0.707, 1.0, 0.0]
    """
    spacing = np.array(spacing_mm, dtype=np.float64)
    stretch = spacing.prod() / spacing  # an area vector's component along an axis grows with the other two spacings
    corners = list(product((0, 1), repeat=len(spacing)))
    areas = np.zeros(2 ** len(corners))
    for code in range(1, len(areas) - 1):
        inside = {corner for bit, corner in enumerate(corners) if code >> bit & 1}
        # A surface has the same area seen from either side: only codes with at most half of the corners need rules.
        smaller_side = inside if 2 * len(inside) <= len(corners) else set(corners) - inside
        pieces = [piece for group in _connected(smaller_side) for piece in _pieces(group)]
        areas[code] = sum(float(np.linalg.norm(piece * stretch)) for piece in pieces)
    return areas


def _connected(corners: set[Corner]) -> list[list[Corner]]:
    """Return the groups of corners connected along edges of the cube; each is cut off by a surface of its own."""
    groups: list[list[Corner]] = []
    for corner in sorted(corners):
        touching = [group for group in groups if any(_edge_axis(corner, other) is not None for other in group)]
        merged = [corner, *(member for group in touching for member in group)]
        groups = [*(group for group in groups if group not in touching), merged]
    return groups


def _edge_axis(first: Corner, second: Corner) -> int | None:
    """Return the axis of the edge between two corners; None if there is no edge."""
    different = [axis for axis, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    return different[0] if len(different) == 1 else None


def _pieces(group: Sequence[Corner]) -> list[NDArray[np.float64]]:
    """Return the area vectors (absolute components, unit spacing) of the flat pieces that cut a group off.

    The vertices are midpoints of the cube's edges. Up to three corners, and where four lie in a square or around one
    of them, the pieces are those faces of the convex hull of the group and its midpoints that do not lie on the cube.
    Four in a chain have six midpoints that lie in no plane; they are joined so that both sides look alike.
    """
    dimensions = len(group[0])
    unit, ones = np.eye(dimensions), np.ones(dimensions)
    edges = [(a, b, axis) for a, b in combinations(group, 2) if (axis := _edge_axis(a, b)) is not None]
    axes = [axis for _, _, axis in edges]
    if dimensions == 2:
        return [ones / 2] if len(group) == 1 else [ones - unit[axes[0]]]  # a diagonal, or a straight edge
    if len(group) == 1:
        return [ones / 8]  # a triangle
    if len(group) == 2:
        return [(ones - unit[axes[0]]) / 2]  # a rectangle along the edge
    if len(group) == 3:
        return [(ones - unit[axes].sum(0)) / 2, ones * 3 / 8]  # half of a face, half of a hexagon
    if len(edges) == 4:
        return [ones - unit[axes].any(0)]  # a square between two faces of the cube
    degree = {corner: sum(corner in edge[:2] for edge in edges) for corner in group}
    if max(degree.values()) == 3:
        return [ones * 3 / 4]  # a hexagon
    ends = [axis for a, b, axis in edges if 1 in (degree[a], degree[b])]
    return [ones / 4, ones / 4, *((ones - unit[axis]) / 4 for axis in ends)]  # four triangles
