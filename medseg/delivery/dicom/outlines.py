"""Masks as closed outlines along the edges of their pixels, so that the area is exact and filling them gives it back.

An outline runs half a pixel away from the centres of its pixels. Pixels that touch only at a corner get outlines of
their own. A hole is joined to the outline around it by a keyhole, a channel of no width, which is how DICOM (PS3.3,
C.8.8.6.3) has inner outlines; it also runs along pixel edges, and every way to fill a polygon understands it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int]
"""(row, column) of a pixel's corner: corner (r, c) lies at (r - 0.5, c - 0.5) of the pixels' centres."""

_RIGHT_OF = {(0, 1): (1, 0), (1, 0): (0, -1), (0, -1): (-1, 0), (-1, 0): (0, 1)}


def outlines_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The outlines of a (row, column) mask, each (point, 2) rows and columns in pixels, pixel centres being whole.

    Pixels within an outline have their centres strictly inside; outlines are not closed by a repeated point.
    """
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    loops = _loops(box)
    outer = [loop for loop in loops if _area(loop) > 0]
    holes = [loop for loop in loops if _area(loop) < 0]
    offset = np.array([rows[0], columns[0]]) - 0.5
    return [np.array(_corners_only(loop), dtype=np.float64) + offset for loop in _with_keyholes(outer, holes)]


def _loops(mask: NDArray[np.bool_]) -> list[list[Corner]]:
    """Closed walks along the border with the mask on the right hand, corner by corner."""
    steps = _border_steps(mask)
    left = {(corner, way): None for corner, ways in steps.items() for way in ways}  # in order, unlike a set
    loops = []
    while left:
        here, way = next(iter(left))
        loop = []
        while (here, way) in left:
            del left[here, way]
            loop.append(here)
            here = (here[0] + way[0], here[1] + way[1])
            # where two pixels touch at a corner, turn right, which stays at the pixel that the walk is at
            ways, turned = steps[here], _RIGHT_OF[way]
            way = turned if turned in ways else ways[0]
        loops.append(loop)
    return loops


def _border_steps(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """{corner: directions in which the border leaves it}, the mask being on the right hand."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    steps: dict[Corner, list[Corner]] = {}
    borders = (
        (inside & ~padded[:-2, 1:-1], (0, 0), (0, 1)),  # along the top, to the right
        (inside & ~padded[1:-1, 2:], (0, 1), (1, 0)),  # down the right side
        (inside & ~padded[2:, 1:-1], (1, 1), (0, -1)),  # along the bottom, to the left
        (inside & ~padded[1:-1, :-2], (1, 0), (-1, 0)),  # up the left side
    )
    for border, (down, right), way in borders:
        for row, column in np.argwhere(border).tolist():
            steps.setdefault((row + down, column + right), []).append(way)
    return steps


def _area(loop: list[Corner]) -> float:
    """Twice the area within: positive around a mask, negative around a hole."""
    points = np.array(loop)
    rows, columns = points[:, 0], points[:, 1]
    return float(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows))


def _with_keyholes(outer: list[list[Corner]], holes: list[list[Corner]]) -> list[list[Corner]]:
    """Each hole spliced into the outline to its left, which may be that of another hole, spliced in before it."""
    found = [*outer]
    place = {corner: number for number, loop in enumerate(found) for corner in loop}
    # from left to right, so that what a channel meets is already part of an outline
    for hole in sorted(holes, key=lambda loop: min((column, row) for row, column in loop)):
        column, row = min((column, row) for row, column in hole)
        reached = next(number for number in range(column - 1, -1, -1) if (row, number) in place)
        number = place[row, reached]
        loop, start = found[number], hole.index((row, column))
        there = loop.index((row, reached))
        channel = [(row, between) for between in range(reached, column)]
        turned = hole[start:] + hole[:start]
        found[number] = loop[:there] + channel + turned + [(row, column)] + channel[::-1] + loop[there + 1 :]
        place.update(dict.fromkeys([*hole, *channel], number))
    return found


def _corners_only(loop: list[Corner]) -> list[Corner]:
    """Without the points on straight stretches; where a channel turns back on itself, its end stays."""
    points = np.array(loop)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    kept: list[Corner] = [point for point, turns in zip(loop, (before != after).any(axis=1), strict=True) if turns]
    return kept
