"""How the slices of a series lie, from their positions only: order, affine, and what keeps them from being a volume.

A volume has one matrix, one orientation, one pixel spacing, one frame of reference, one slice at each place, and equal
steps. The tolerance is a twentieth of a voxel, by which medseg takes two grids for the same: by so much a corner of a
slice may miss the place that regular geometry gives it. Files hold positions as decimal text, so that well-formed
series miss it by less than a hundredth; for those with a single decimal, see `steps.tolerance_mm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.geometry.steps import Steps, find_steps, tolerance_mm
from medseg.io.dicom.listing.series import Problem, Slice

TILT_DEGREES = 0.5
"""A lean of the stack beyond this is a gantry tilt; so is one that drifts by more than a pixel from end to end."""
_STEEPEST_DEGREES = 45.0  # gantries tilt by 30
_ORIENTATION_ERROR = 1e-3  # of the length of direction cosines, and of their right angle
_STRAIGHT_DEGREES = 5.0  # planes turned by no more are called axial, sagittal or coronal
_PLANES = ("sagittal", "coronal", "axial")
_MOST_NAMED = 4


@dataclass(frozen=True)
class Geometry:
    """Where slices lie.

    Attributes:
        order: numbers of the slices, sorted along the normal of the first one's plane.
        affine: 4x4, (x, y, z) indices of the sorted stack to RAS+ mm, the mean step as its third column; None where
            the slices have no common geometry.
        spacing_known: whether pixels have a size in the patient.
        spacing_zyx: mm; 0 where it is not known.
        plane: in words.
        places_mm: of each sorted slice along the normal, from 0.
        lean: mm that the stack moves along x and y for each mm along the normal.
        steps: the step that the slices have in common, and where there are other ones.
        problems: what is wrong.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64] | None = None
    spacing_known: bool = True
    spacing_zyx: tuple[float, float, float] = (0.0, 0.0, 0.0)
    plane: str = ""
    places_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    lean: tuple[float, float] = (0.0, 0.0)
    steps: Steps | None = None
    problems: tuple[Problem, ...] = ()


def lay_out(slices: Sequence[Slice]) -> Geometry:
    """The geometry of slices, of which there is at least one."""
    as_given = tuple(range(len(slices)))
    first = slices[0]
    if len(slices) == 1 and first.position is None and first.frame is None:
        return _without_place(first)
    without = [one for one in slices if one.position is None or one.orientation is None]
    if without:
        what = "no position or orientation in the patient"
        return Geometry(as_given, problems=(Problem("no position", f"{_names(without)}: {what}"),))
    wrong = [one for one in slices if not _is_orthonormal(one)]
    if wrong:
        what = "the direction cosines are not of length 1 and at right angles"
        return Geometry(as_given, problems=(Problem("bad orientation", f"{_names(wrong)}: {what}"),))
    mixed = _mixed(slices)
    if mixed:
        return Geometry(as_given, plane=_plane(first), problems=mixed)
    return _stacked(slices)


def basis(one: Slice) -> NDArray[np.float64]:
    """3x3: directions of rows (x), columns (y) and the normal as columns, LPS, of length 1."""
    assert one.orientation is not None
    x, y = np.array(one.orientation[:3]), np.array(one.orientation[3:])
    x, y = x / (np.linalg.norm(x) or 1.0), y / (np.linalg.norm(y) or 1.0)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _without_place(one: Slice) -> Geometry:
    """A single image that does not say where it lies, such as a radiograph."""
    y, x = one.spacing_yx or (1.0, 1.0)
    affine = LPS_TO_RAS @ np.diag([x, y, 1.0, 1.0])
    known = one.spacing_yx is not None
    return Geometry((0,), affine, known, (0.0, y, x) if known else (0.0, 0.0, 0.0), places_mm=np.zeros(1))


def _is_orthonormal(one: Slice) -> bool:
    x, y = np.array((one.orientation or ())[:3]), np.array((one.orientation or ())[3:])
    lengths = np.array([np.linalg.norm(x), np.linalg.norm(y)])
    return bool((np.abs(lengths - 1) <= _ORIENTATION_ERROR).all() and abs(x @ y) <= _ORIENTATION_ERROR)


def _mixed(slices: Sequence[Slice]) -> tuple[Problem, ...]:
    """What the slices should have in common and have not; named are those that differ from most."""
    problems = []
    spacing = slices[0].spacing_yx
    if any(one.spacing_yx is None or min(one.spacing_yx) <= 0 for one in slices):
        odd = [one for one in slices if one.spacing_yx is None or min(one.spacing_yx) <= 0]
        return (Problem("no pixel spacing", f"{_names(odd)}: no pixel spacing"),)
    assert spacing is not None
    groups: dict[str, Sequence[Any]] = {
        "mixed matrix sizes": [(one.rows, one.columns) for one in slices],
        "mixed orientations": _clusters([np.array(one.orientation) * max(one.rows, one.columns) for one in slices]),
        "mixed pixel spacings": _clusters(
            [np.array(one.spacing_yx) / np.array(spacing) * max(one.rows, one.columns) for one in slices]
        ),
        "mixed frames of reference": [one.frame_of_reference for one in slices],
    }
    for kind, found in groups.items():
        kinds = list(dict.fromkeys(found))
        if len(kinds) > 1:
            parts = [[one for one, value in zip(slices, found, strict=True) if value == group] for group in kinds]
            parts.sort(key=len, reverse=True)
            told = "; ".join(f"{len(part)}: {_names(part, 2)}" for part in parts[:_MOST_NAMED])
            problems.append(Problem(kind, f"{kind}: {len(kinds)} in {len(slices)} slices ({told})"))
    return tuple(problems)


def _clusters(vectors: Sequence[NDArray[np.float64]]) -> list[int]:
    """Numbers that are equal for vectors that differ by no more than the tolerance from the first of their kind."""
    kinds: list[NDArray[np.float64]] = []
    found = []
    for vector in vectors:
        number = next((n for n, one in enumerate(kinds) if np.abs(vector - one).max() <= GRID_TOLERANCE_VOXELS), None)
        if number is None:
            number = len(kinds)
            kinds.append(vector)
        found.append(number)
    return found


def _stacked(slices: Sequence[Slice]) -> Geometry:
    """Slices that share plane, matrix and pixel spacing."""
    directions = basis(slices[0])
    points = np.array([one.position for one in slices]) @ directions  # (n, 3): along x, y and the normal
    order = np.argsort(points[:, 2], kind="stable")
    points = points[order]
    y, x = slices[0].spacing_yx or (1.0, 1.0)
    places = points[:, 2] - points[0, 2]
    ordered = [slices[number] for number in order]
    steps = find_steps(ordered, places)
    lean, astray = _lean(points, places, min(x, y))
    edges = directions * [x, y, 1.0]
    edges[:, 2] = directions @ [lean[0], lean[1], 1.0] * steps.mean_mm
    affine = LPS_TO_RAS @ affine_from(edges.T, np.array(ordered[0].position))
    problems = list(steps.problems)
    if astray.any() and not any(problem.kind == "doubled slices" for problem in problems):
        odd = [one for one, is_odd in zip(ordered, astray, strict=True) if is_odd]
        problems.append(Problem("shifted slices", f"{_names(odd)}: shifted within the plane against the others"))
    elif problem := _tilt(lean, places, (x, y)):
        problems.append(problem)
    return Geometry(
        order=tuple(order.tolist()),
        affine=affine,
        spacing_zyx=(steps.mean_mm if steps.regular_mm else 0.0, y, x),
        plane=_plane(slices[0]),
        places_mm=places,
        lean=lean,
        steps=steps,
        problems=tuple(problems),
    )


def _lean(
    points: NDArray[np.float64], places: NDArray[np.float64], pixel_mm: float
) -> tuple[tuple[float, float], NDArray[np.bool_]]:
    """How far the stack moves in its plane for each mm along the normal, and which slices are not on that line."""
    if places[-1] <= 0:
        return (0.0, 0.0), np.zeros(len(places), dtype=bool)
    offsets = points[:, :2] - points[0, :2]
    lean = np.linalg.lstsq(np.stack([places, np.ones_like(places)], 1), offsets, rcond=None)[0][0]
    apart = offsets - places[:, None] * lean
    apart -= np.median(apart, axis=0)
    astray = np.abs(apart).max(axis=1) > tolerance_mm(pixel_mm)
    lean[np.abs(lean) < 1e-9] = 0.0
    return (float(lean[0]), float(lean[1])), astray


def _tilt(lean: tuple[float, float], places: NDArray[np.float64], pixel_xy: tuple[float, float]) -> Problem | None:
    degrees = float(np.degrees(np.arctan(np.hypot(*lean))))
    drift = float(np.hypot(*lean)) * float(places[-1])
    if degrees <= TILT_DEGREES and drift <= min(pixel_xy):
        return None
    step = drift / max(len(places) - 1, 1)
    return Problem(
        "gantry tilt",
        f"the stack leans by {degrees:.3g} degrees: each slice lies {step:.3g} mm further along its own plane",
        "resample_tilt" if degrees <= _STEEPEST_DEGREES else None,
    )


def _plane(one: Slice) -> str:
    normal = np.abs(basis(one)[:, 2])
    name = _PLANES[int(np.argmax(normal))]
    return name if normal.max() >= np.cos(np.radians(_STRAIGHT_DEGREES)) else f"oblique {name}"


def _names(slices: Sequence[Slice], most: int = _MOST_NAMED) -> str:
    shown = ", ".join(one.name for one in slices[:most])
    return shown + f" and {len(slices) - most} more" * (len(slices) > most)
