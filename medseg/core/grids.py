"""How two grids differ, in words: shifted, mirrored, turned, of another spacing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAME = 1e-3
_SIDES = (("to the right", "to the left"), ("to the front", "to the back"), ("up", "down"))


def affine_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """What turns an affine (4x4, to RAS+ mm) into another: `the second is shifted by 3 mm to the left`, or nothing.

    Differences below a thousandth, of a voxel or of its edges, are none. Where nothing simple holds, the affines
    themselves are given.
    """
    spacings = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other)]
    first, second = (affine[:3, :3] / spacing for affine, spacing in zip((one, other), spacings, strict=True))
    parts = []
    if not np.allclose(spacings[0], spacings[1], rtol=_SAME, atol=0):
        shown = [" x ".join(f"{value:.4g}" for value in spacing[::-1]) for spacing in spacings]
        parts.append(f"has a spacing (z, y, x) of {shown[1]} instead of {shown[0]} mm")
    cosines = first.T @ second
    if np.abs(cosines - np.rint(cosines)).max() <= _SAME:
        parts += _axes(np.rint(cosines))
    else:
        turn = second @ np.linalg.inv(first)
        if np.abs(turn @ turn.T - np.eye(3)).max() > _SAME or np.linalg.det(turn) < 0:
            return f"affines {_numbers(one)} and {_numbers(other)}"
        angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
        parts.append(f"is turned by {angle:.3g} degrees")
    if not parts:
        parts = _shift((other - one)[:3, 3], _SAME * spacings[0].min())
    return "the second " + " and ".join(parts) if parts else ""


def _axes(signs: NDArray[np.float64]) -> list[str]:
    """For axes that are parallel: which of them run the other way, or that their order differs."""
    if not np.array_equal(np.abs(signs), np.eye(3)):
        return ["has its axes in another order"]
    turned = [name for name, sign in zip("xyz", np.diag(signs), strict=True) if sign < 0]
    return [f"is mirrored: its {' and '.join(turned)} run{'s' * (len(turned) == 1)} the other way"] * bool(turned)


def _shift(shift_mm: NDArray[np.float64], least_mm: float) -> list[str]:
    ways = [
        f"{abs(length):.3g} mm {words[0] if length > 0 else words[1]}"
        for length, words in zip(shift_mm.tolist(), _SIDES, strict=True)
        if abs(length) >= least_mm
    ]
    return [f"is shifted by {', '.join(ways)}"] * bool(ways)


def _numbers(affine: NDArray[np.float64]) -> str:
    return str([[float(f"{value:.7g}") for value in row] for row in affine[:3]])
