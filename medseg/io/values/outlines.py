"""Trace masks as closed outlines along the edges of their pixels: the area is exact, and filling them gives it back.

An outline runs half a pixel away from the centres of its pixels. Pixels that touch only at a corner get outlines of
their own. A hole is joined to the outline around it by a keyhole, a channel of no width, which is how DICOM has inner
outlines (PS3.3 C.8.8.6.3); it also runs along pixel edges, and every way to fill a polygon understands it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int]
"""(row, column) of a pixel's corner: corner (r, c) lies at (r - 0.5, c - 0.5) of the pixels' centres."""
Direction = tuple[int, int]
"""(row, column) step from a corner to the next."""

_RIGHT_TURN: dict[Direction, Direction] = {(0, 1): (1, 0), (1, 0): (0, -1), (0, -1): (-1, 0), (-1, 0): (0, 1)}


def outlines_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outlines of a (row, column) mask, each (point, 2) rows and columns; pixel centres are whole numbers.

    The centres of the mask's pixels lie strictly inside; no outline repeats its first point at its end.

    >>> outlines_of(np.array([[False, True]]))[0].tolist()
    [[-0.5, 0.5], [-0.5, 1.5], [0.5, 1.5], [0.5, 0.5]]
    """
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    loops = _border_loops(box)
    outer = [loop for loop in loops if _doubled_area(loop) > 0]
    holes = [loop for loop in loops if _doubled_area(loop) < 0]
    offset = np.array([rows[0], columns[0]]) - 0.5
    return [np.array(_turning_points(loop), dtype=np.float64) + offset for loop in _join_holes(outer, holes)]


def rings_of(mask: NDArray[np.bool_]) -> list[list[list[Corner]]]:
    """Return the polygons of a (row, column) mask: for each its outer ring, then its holes.

    Pixels that touch only at a corner are polygons of their own. No ring meets itself, and no ring repeats its first
    point at its end; corner (r, c) is the upper left one of the pixel (r, c).

    >>> rings_of(np.array([[True, False], [False, True]]))
    [[[(0, 0), (0, 1), (1, 1), (1, 0)]], [[(1, 1), (1, 2), (2, 2), (2, 1)]]]
    """
    from scipy import ndimage

    numbered, _ = ndimage.label(mask)
    polygons = []
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        top, left = box[0].start, box[1].start
        rings = [ring for loop in _border_loops(numbered[box] == number) for ring in _without_meetings(loop)]
        rings.sort(key=lambda ring: _doubled_area(ring) < 0)  # the only one around the mask comes first
        polygons.append([[(row + top, column + left) for row, column in _turning_points(ring)] for ring in rings])
    return polygons


def _without_meetings(loop: list[Corner]) -> list[list[Corner]]:
    """Split a closed walk into parts that pass no corner twice."""
    parts: list[list[Corner]] = []
    walked: list[Corner] = []
    place: dict[Corner, int] = {}
    for corner in loop:
        if corner in place:
            start = place[corner]
            parts.append(walked[start:])
            for passed in walked[start:]:
                del place[passed]
            del walked[start:]
        place[corner] = len(walked)
        walked.append(corner)
    return [*parts, walked]


def _border_loops(mask: NDArray[np.bool_]) -> list[list[Corner]]:
    """Return closed walks along the border, corner by corner, with the mask on the right hand."""
    steps = _border_steps(mask)
    # a dict and not a set, so that the order of the outlines is the same in every run
    not_walked = {(corner, direction): None for corner, directions in steps.items() for direction in directions}
    loops = []
    while not_walked:
        corner, direction = next(iter(not_walked))
        loop = []
        while (corner, direction) in not_walked:
            del not_walked[corner, direction]
            loop.append(corner)
            corner = (corner[0] + direction[0], corner[1] + direction[1])
            # where two pixels touch at a corner, a right turn stays at the pixel that the walk goes round
            directions, right = steps[corner], _RIGHT_TURN[direction]
            direction = right if right in directions else directions[0]
        loops.append(loop)
    return loops


def _border_steps(mask: NDArray[np.bool_]) -> dict[Corner, list[Direction]]:
    """Return {corner: directions in which the border leaves it}, the mask being on the right hand."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    steps: dict[Corner, list[Direction]] = {}
    borders = (
        (inside & ~padded[:-2, 1:-1], (0, 0), (0, 1)),  # along the top, to the right
        (inside & ~padded[1:-1, 2:], (0, 1), (1, 0)),  # down the right side
        (inside & ~padded[2:, 1:-1], (1, 1), (0, -1)),  # along the bottom, to the left
        (inside & ~padded[1:-1, :-2], (1, 0), (-1, 0)),  # up the left side
    )
    for border, (down, right), direction in borders:
        for row, column in np.argwhere(border).tolist():
            steps.setdefault((row + down, column + right), []).append(direction)
    return steps


def _doubled_area(loop: list[Corner]) -> float:
    """Return twice the area within (the shoelace formula): positive around a mask, negative around a hole."""
    points = np.array(loop)
    rows, columns = points[:, 0], points[:, 1]
    return float(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows))


def _join_holes(outer: list[list[Corner]], holes: list[list[Corner]]) -> list[list[Corner]]:
    """Splice each hole into the outline to its left, which may be that of another hole, spliced in before it."""
    outlines = [*outer]
    outline_at = {corner: number for number, loop in enumerate(outlines) for corner in loop}
    # from left to right, so that what a channel meets is already part of an outline
    for hole in sorted(holes, key=lambda loop: min((column, row) for row, column in loop)):
        column, row = min((column, row) for row, column in hole)
        reached = next(number for number in range(column - 1, -1, -1) if (row, number) in outline_at)
        number = outline_at[row, reached]
        loop, start = outlines[number], hole.index((row, column))
        junction = loop.index((row, reached))
        channel = [(row, between) for between in range(reached, column)]
        round_hole = hole[start:] + hole[:start]
        there, back = channel + round_hole, [(row, column), *channel[::-1]]
        outlines[number] = loop[:junction] + there + back + loop[junction + 1 :]
        outline_at.update(dict.fromkeys([*hole, *channel], number))
    return outlines


def _turning_points(loop: list[Corner]) -> list[Corner]:
    """Drop the points on straight stretches; where a channel turns back on itself, its end stays."""
    points = np.array(loop)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return [point for point, turns in zip(loop, (before != after).any(axis=1), strict=True) if turns]
