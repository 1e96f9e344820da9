"""Affines of voxel grids: build one, turn it from LPS to RAS, and say in words how two of them differ.

An affine is 4x4 and maps (x, y, z) voxel indices to millimetres in the world.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns world coordinates of ITK and DICOM (to left, posterior, superior) into RAS+; its own inverse."""

_TOLERANCE = 1e-3
"""Differences below it are rounding: relative for spacings, of cosines for directions, in voxels for shifts."""
_SIDES = (("to the right", "to the left"), ("to the front", "to the back"), ("up", "down"))


def affine_from(edges: Sequence[NDArray] | NDArray, origin: Sequence[float] | NDArray) -> NDArray[np.float64]:
    """Return the 4x4 affine of a grid with these steps between voxels.

    Args:
        edges: the steps in mm along x, y (and z), one per row, each in 2 or 3 world coordinates. If there are only two,
            the third is 1 mm along their normal.
        origin: the centre of the first voxel, in 2 or 3 world coordinates.

    Returns:
        The affine, in the same world coordinates.
    """
    steps, centre = np.zeros((3, 3)), np.zeros(3)
    for axis, edge in enumerate(edges):
        steps[axis, : len(edge)] = edge
    centre[: len(origin)] = origin
    if len(edges) < 3:
        normal = np.cross(steps[0], steps[1])
        steps[2] = normal / (np.linalg.norm(normal) or 1.0)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps.T, centre
    return affine


def affine_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    """Say in words how a grid differs from another: in spacing, direction of its axes, rotation or position.

    Args:
        first: 4x4 affine, (x, y, z) voxel indices to RAS+ mm.
        second: the affine to compare with it.

    Returns:
        A phrase on the second grid; empty if they differ by less than a thousandth of a voxel. If no single rotation
        explains the difference (the grids are sheared, or one is a mirror image), the phrase is the two affines.

    >>> moved = np.diag([2.0, 2.0, 2.0, 1.0])
    >>> moved[0, 3] = -3
    >>> affine_difference(np.diag([2.0, 2.0, 2.0, 1.0]), moved)
    'the second is shifted by 3 mm to the left'
    """
    spacings = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (first, second)]
    # the columns are the unit vectors along x, y and z of each grid
    first_axes, second_axes = (
        affine[:3, :3] / spacing for affine, spacing in zip((first, second), spacings, strict=True)
    )
    parts = []
    if not np.allclose(spacings[0], spacings[1], rtol=_TOLERANCE, atol=0):
        texts = [" x ".join(f"{value:.4g}" for value in spacing[::-1]) for spacing in spacings]
        parts.append(f"has a spacing (z, y, x) of {texts[1]} instead of {texts[0]} mm")
    cosines = first_axes.T @ second_axes
    if np.abs(cosines - np.rint(cosines)).max() <= _TOLERANCE:  # every axis is parallel to one of the other grid
        parts += _describe_axes(np.rint(cosines))
    else:
        rotation = second_axes @ np.linalg.inv(first_axes)
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > _TOLERANCE or np.linalg.det(rotation) < 0:
            return f"affines {_as_text(first)} and {_as_text(second)}"
        # the trace of a rotation by an angle is 1 + 2 cos(angle)
        angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
        parts.append(f"is turned by {angle:.3g} degrees")
    if not parts:  # the shift of a grid that also differs otherwise says little: it depends on where voxel 0 lies
        parts = _describe_shift((second - first)[:3, 3], _TOLERANCE * spacings[0].min())
    return "the second " + " and ".join(parts) if parts else ""


def _describe_axes(signs: NDArray[np.float64]) -> list[str]:
    """Return a phrase on how the axes of a second grid differ from those of the first; [] if they are the same.

    Args:
        signs: (3, 3) cosines between the axes of both grids, rounded to -1, 0 or 1: the axes are parallel.
    """
    if not np.array_equal(np.abs(signs), np.eye(3)):
        return ["has its axes in another order"]
    reversed_axes = [name for name, sign in zip("xyz", np.diag(signs), strict=True) if sign < 0]
    if not reversed_axes:
        return []
    return [f"is mirrored: its {' and '.join(reversed_axes)} run{'s' * (len(reversed_axes) == 1)} the other way"]


def _describe_shift(shift_mm: NDArray[np.float64], least_mm: float) -> list[str]:
    """Say how far and to which side of the body a grid is shifted; [] if that is less than `least_mm`."""
    shifts = [
        f"{abs(length):.3g} mm {sides[0] if length > 0 else sides[1]}"
        for length, sides in zip(shift_mm.tolist(), _SIDES, strict=True)
        if abs(length) >= least_mm
    ]
    return [f"is shifted by {', '.join(shifts)}"] if shifts else []


def _as_text(affine: NDArray[np.float64]) -> str:
    """Return the upper three rows of an affine, with seven digits (the precision of float32)."""
    return str([[float(f"{value:.7g}") for value in row] for row in affine[:3]])
