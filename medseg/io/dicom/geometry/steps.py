"""Steps between sorted slices: the one that they have in common, and where slices are missing, doubled or astray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.listing.series import Problem, Slice

_COMMON_SHARE = 0.1
_MOST_NAMED = 3
_MOST_GROWTH = 2  # slices of the regular grid for each that there is
_SAME_PLACE_MM = 1e-3
_ROUNDING_MM, _LARGEST_SHARE = 0.051, 0.2
"""Positions that are written with one decimal are off by half of it; never accepted beyond this share of a voxel."""
THICKNESS_UNKNOWN_MM = 1.0


@dataclass(frozen=True)
class Steps:
    """Attributes:
    mean_mm: from first to last slice, divided by the number of steps; the thickness of a single slice.
    regular_mm: the smallest step that a tenth of the steps have: what a regular grid through the slices has.
    problems: why the steps are not equal.
    """

    mean_mm: float
    regular_mm: float
    problems: tuple[Problem, ...] = ()


def find_steps(slices: Sequence[Slice], places: NDArray[np.float64]) -> Steps:
    """The steps of slices that are sorted along their normal.

    Args:
        slices: sorted.
        places: (n,) mm along the normal, from 0.
    """
    if len(slices) == 1:
        thickness = slices[0].thickness
        thickness = thickness if thickness and thickness > 0 else THICKNESS_UNKNOWN_MM
        return Steps(thickness, thickness)
    steps = np.diff(places)
    doubled = doubled_steps(places)
    if doubled.any():
        return Steps(max(float(steps.mean()), _SAME_PLACE_MM), 0.0, (_doubled(slices, doubled),))
    mean = float(steps.mean())
    ideal = mean * np.arange(len(places))
    astray = places - ideal
    astray -= (astray.max() + astray.min()) / 2
    if np.abs(astray).max() <= tolerance_mm(mean):
        return Steps(mean, mean)
    regular = _regular(steps)
    return Steps(mean, regular, (_unequal(slices, steps, regular),))


def tolerance_mm(voxel_mm: float) -> float:
    """How far a slice may lie from where a regular grid has it, along an axis on which voxels have this size."""
    return max(GRID_TOLERANCE_VOXELS * voxel_mm, min(_ROUNDING_MM, _LARGEST_SHARE * voxel_mm))


def doubled_steps(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which steps between sorted places are none: less than a twentieth of the usual step."""
    steps = np.diff(places)
    real = steps[steps > _SAME_PLACE_MM]
    usual = float(np.median(real)) if real.size else 0.0
    return steps <= max(_SAME_PLACE_MM, GRID_TOLERANCE_VOXELS * usual)


def _regular(steps: NDArray[np.float64]) -> float:
    """The smallest step that is common enough; its mean over all that are like it."""
    for step in np.sort(steps):
        alike = steps[np.abs(steps - step) <= GRID_TOLERANCE_VOXELS * step]
        if len(alike) >= _COMMON_SHARE * len(steps):
            return float(alike.mean())
    return float(np.median(steps))


def _doubled(slices: Sequence[Slice], doubled: NDArray[np.bool_]) -> Problem:
    pairs = [(slices[number], slices[number + 1]) for number in np.flatnonzero(doubled).tolist()]
    told = "; ".join(f"{one.name} and {other.name}" for one, other in pairs[:_MOST_NAMED])
    rest = f" and {len(pairs) - _MOST_NAMED} more pairs" * (len(pairs) > _MOST_NAMED)
    what = "no volume: all slices lie" if doubled.all() else "several slices"
    return Problem("doubled slices", f"{what} at one position, and nothing tells them apart: {told}{rest}")


def _unequal(slices: Sequence[Slice], steps: NDArray[np.float64], regular: float) -> Problem:
    """Missing slices where all steps are multiples of the regular one, else unequal steps."""
    counts = np.rint(steps / regular)
    multiples = (counts >= 1).all() and (np.abs(steps - counts * regular) <= GRID_TOLERANCE_VOXELS * regular).all()
    odd = np.flatnonzero(np.abs(steps - regular) > GRID_TOLERANCE_VOXELS * regular).tolist()
    between = [f"{slices[number].name} and {slices[number + 1].name} ({steps[number]:.4g} mm)" for number in odd]
    told = "; ".join(between[:_MOST_NAMED]) + f" and {len(odd) - _MOST_NAMED} more" * (len(odd) > _MOST_NAMED)
    if multiples and odd:
        missing = int((counts - 1).sum())
        what = f"{missing} slice{'s' * (missing != 1)} missing at a step of {regular:.4g} mm"
        if missing > (_MOST_GROWTH - 1) * len(slices):
            what = f"more slices are missing than there are: {what}"
        return Problem(
            "missing slices",
            f"{what}: between {told}",
            "allow_gaps" if missing <= (_MOST_GROWTH - 1) * len(slices) else None,
        )
    range_mm = f"steps of {steps.min():.4g} to {steps.max():.4g} mm"
    can_be_bridged = steps.sum() <= _MOST_GROWTH * regular * len(slices)
    message = f"{range_mm}: between {told}" if odd else range_mm
    return Problem("unequal steps", message, "allow_gaps" if can_be_bridged else None)
