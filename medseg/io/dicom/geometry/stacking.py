"""The geometry of a stack of slices, from their positions only: order, affine, and what keeps it from being a volume.

A volume has one matrix, one orientation, one pixel spacing, one frame of reference, one slice at each position, and
equal steps. Everything follows from ImagePositionPatient, ImageOrientationPatient and PixelSpacing (PS3.3 C.7.6.2 and
C.7.6.2.1.1); InstanceNumber, SliceLocation, SliceThickness and SpacingBetweenSlices are often wrong and play no part.

The tolerance is a twentieth of a voxel (`GRID_TOLERANCE_VOXELS`), by which medseg takes two grids for the same: so far
a corner of a slice may lie from its place on the regular grid. Files hold positions as decimal text, and well-formed
series miss it by less than a hundredth; see `tolerance_mm` for those with a single decimal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.elements.series import Problem, Slice

TILT_DEGREES = 0.5
"""A stack that leans by more has a gantry tilt; so has one that drifts by more than a pixel from end to end."""
_MAX_TILT_DEGREES = 45.0  # gantries tilt by 30 at most: beyond this the positions are wrong
_ORIENTATION_ERROR = 1e-3  # of the length of direction cosines, and of the cosine of the angle between them
_STRAIGHT_DEGREES = 5.0  # planes turned by no more are called axial, sagittal or coronal
_PLANES = ("sagittal", "coronal", "axial")  # by the axis of the patient (x, y, z) that is nearest to the normal
_MAX_LATTICES = 4  # stacks that may lie between each other; more would be found in any irregular stack
_MIN_LATTICE = 3  # slices of each: fewer are at equal steps by chance
_COMMON_SHARE = 0.1  # of the steps: a rarer step is not the regular one
_MAX_GROWTH = 2  # slices of the regular grid for each slice that there is: beyond this most of it would be invented
_SAME_POSITION_MM = 1e-3
_ROUNDING_MM, _MAX_ROUNDING_SHARE = 0.051, 0.2
"""Positions written with one decimal are off by half of it (and a little, for the float); accepted up to this share
of a voxel."""
_UNKNOWN_THICKNESS_MM = 1.0
_MAX_SLICES_NAMED, _MAX_PAIRS_NAMED = 4, 3


@dataclass(frozen=True)
class Geometry:
    """Where the slices of a series lie.

    Attributes:
        order: indices of the slices, sorted along the normal of the first one's plane.
        affine: 4x4, (x, y, z) indices of the sorted stack to RAS+ mm, with the mean step as its third column; None if
            the slices have no common geometry.
        spacing_known: whether pixels have a size in the patient.
        spacing_zyx_mm: 0 where it is not known.
        plane: axial, sagittal or coronal, `oblique` before it if it is turned; empty if it is not known.
        heights_mm: (slice,) position of each sorted slice along the normal, from 0.
        shear_xy: mm that the stack moves along x and y of its plane for each mm along the normal; not 0 for a tilted
            gantry.
        mean_step_mm: from the first to the last slice, divided by the number of steps; the thickness of a single one.
        regular_step_mm: the smallest step that a tenth of the steps have, which is that of a regular grid through the
            slices; 0 if several slices lie at one position.
        problems: what keeps the slices from being a volume.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64] | None = None
    spacing_known: bool = True
    spacing_zyx_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    plane: str = ""
    heights_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    shear_xy: tuple[float, float] = (0.0, 0.0)
    mean_step_mm: float = 0.0
    regular_step_mm: float = 0.0
    problems: tuple[Problem, ...] = ()


def stack_geometry(slices: Sequence[Slice]) -> Geometry:
    """Return the geometry of one or more slices, given in any order."""
    as_given = tuple(range(len(slices)))
    first = slices[0]
    if len(slices) == 1 and first.position is None and first.frame is None and not first.is_section:
        return _projection_geometry(first)
    without = [slice_ for slice_ in slices if slice_.position is None or slice_.orientation is None]
    if without:
        message = f"{_names(without)}: no position or orientation in the patient"
        return Geometry(as_given, problems=(Problem("no position", message),))
    skewed = [slice_ for slice_ in slices if not _is_orthonormal(slice_)]
    if skewed:
        message = f"{_names(skewed)}: the direction cosines are not of length 1 and at right angles"
        return Geometry(as_given, problems=(Problem("bad orientation", message),))
    mixed = _mixed(slices)
    if mixed:
        return Geometry(as_given, plane=_plane(first), problems=mixed)
    return _stack(slices)


def plane_axes(slice_: Slice) -> NDArray[np.float64]:
    """Return a 3x3 matrix whose columns are the directions of a row (x), a column (y) and the normal, LPS, length 1."""
    assert slice_.orientation is not None
    x, y = np.array(slice_.orientation[:3]), np.array(slice_.orientation[3:])
    x, y = x / (np.linalg.norm(x) or 1.0), y / (np.linalg.norm(y) or 1.0)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def tolerance_mm(voxel_mm: float) -> float:
    """Return how far a slice may lie from its place on a regular grid, along an axis with voxels of this size.

    >>> tolerance_mm(5.0), round(tolerance_mm(0.5), 3)
    (0.25, 0.051)
    """
    return max(GRID_TOLERANCE_VOXELS * voxel_mm, min(_ROUNDING_MM, _MAX_ROUNDING_SHARE * voxel_mm))


def same_position_steps(heights_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which steps between sorted heights are too small to be steps: less than a twentieth of the usual one."""
    steps = np.diff(heights_mm)
    real = steps[steps > _SAME_POSITION_MM]
    usual = float(np.median(real)) if real.size else 0.0
    return steps <= max(_SAME_POSITION_MM, GRID_TOLERANCE_VOXELS * usual)


def _projection_geometry(slice_: Slice) -> Geometry:
    """Return the geometry of a single image that does not say where it lies, such as a radiograph."""
    y, x = slice_.spacing_yx_mm or (1.0, 1.0)
    affine = LPS_TO_RAS @ np.diag([x, y, 1.0, 1.0])
    known = slice_.spacing_yx_mm is not None
    return Geometry((0,), affine, known, (0.0, y, x) if known else (0.0, 0.0, 0.0), heights_mm=np.zeros(1))


def _is_orthonormal(slice_: Slice) -> bool:
    """Return whether the direction cosines are normal and orthogonal, as PS3.3 C.7.6.2.1.1 requires."""
    x, y = np.array((slice_.orientation or ())[:3]), np.array((slice_.orientation or ())[3:])
    lengths = np.array([np.linalg.norm(x), np.linalg.norm(y)])
    return bool((np.abs(lengths - 1) <= _ORIENTATION_ERROR).all() and abs(x @ y) <= _ORIENTATION_ERROR)


def _mixed(slices: Sequence[Slice]) -> tuple[Problem, ...]:
    """Return a problem for each property in which slices must agree and do not, naming those that differ from most."""
    without = [slice_ for slice_ in slices if slice_.spacing_yx_mm is None or min(slice_.spacing_yx_mm) <= 0]
    if without:
        return (Problem("no pixel spacing", f"{_names(without)}: no pixel spacing"),)
    spacing = np.array(slices[0].spacing_yx_mm)
    # Times the length of a side: a difference of direction or spacing is then that of the far corner, in voxels.
    sides = [max(slice_.rows, slice_.columns) for slice_ in slices]
    orientations = [np.array(slice_.orientation) * side for slice_, side in zip(slices, sides, strict=True)]
    spacings = [np.array(slice_.spacing_yx_mm) / spacing * side for slice_, side in zip(slices, sides, strict=True)]
    properties: dict[str, Sequence[Any]] = {
        "mixed matrix sizes": [(slice_.rows, slice_.columns) for slice_ in slices],
        "mixed orientations": _cluster(orientations),
        "mixed pixel spacings": _cluster(spacings),
        "mixed frames of reference": [slice_.frame_of_reference for slice_ in slices],
    }
    problems = []
    for kind, slice_values in properties.items():
        distinct = list(dict.fromkeys(slice_values))
        if len(distinct) > 1:
            groups = [
                [slice_ for slice_, value in zip(slices, slice_values, strict=True) if value == distinct_value]
                for distinct_value in distinct
            ]
            groups.sort(key=len, reverse=True)
            counts = "; ".join(f"{len(group)}: {_names(group, 2)}" for group in groups[:_MAX_SLICES_NAMED])
            problems.append(Problem(kind, f"{kind}: {len(distinct)} in {len(slices)} slices ({counts})"))
    return tuple(problems)


def _cluster(vectors: Sequence[NDArray[np.float64]]) -> list[int]:
    """Return a number for each vector, equal for those that differ from the first of their kind by the tolerance."""
    firsts: list[NDArray[np.float64]] = []
    clusters = []
    for vector in vectors:
        alike = (n for n, first in enumerate(firsts) if np.abs(vector - first).max() <= GRID_TOLERANCE_VOXELS)
        cluster = next(alike, None)
        if cluster is None:
            cluster = len(firsts)
            firsts.append(vector)
        clusters.append(cluster)
    return clusters


def _stack(slices: Sequence[Slice]) -> Geometry:
    """Return the geometry of slices that share plane, matrix, pixel spacing and frame of reference."""
    axes = plane_axes(slices[0])
    points = np.array([slice_.position for slice_ in slices]) @ axes  # (slice, 3): along x, y and the normal
    order = np.argsort(points[:, 2], kind="stable")
    points = points[order]
    y, x = slices[0].spacing_yx_mm or (1.0, 1.0)
    heights = points[:, 2] - points[0, 2]
    ordered = [slices[number] for number in order]
    mean_step, regular_step, problem = _steps(ordered, heights)
    problems = [] if problem is None else [problem]
    shear, shifted = _shear(points, heights, min(x, y))
    # The columns of the affine are the steps of x, y and z; that of z follows the positions, so that it may be oblique
    # to the plane.
    edges = axes * [x, y, 1.0]
    edges[:, 2] = axes @ [shear[0], shear[1], 1.0] * mean_step
    affine = LPS_TO_RAS @ affine_from(edges.T, np.array(ordered[0].position))
    if shifted.any() and not any(problem.kind == "doubled slices" for problem in problems):
        odd = [slice_ for slice_, is_odd in zip(ordered, shifted, strict=True) if is_odd]
        problems.append(Problem("shifted slices", f"{_names(odd)}: shifted within the plane against the others"))
    elif problem := _tilt(shear, heights, min(x, y)):
        problems.append(problem)
    return Geometry(
        order=tuple(order.tolist()),
        affine=affine,
        spacing_zyx_mm=(mean_step if regular_step else 0.0, y, x),
        plane=_plane(slices[0]),
        heights_mm=heights,
        shear_xy=shear,
        mean_step_mm=mean_step,
        regular_step_mm=regular_step,
        problems=tuple(problems),
    )


def _steps(slices: Sequence[Slice], heights_mm: NDArray[np.float64]) -> tuple[float, float, Problem | None]:
    """Return the mean step, the regular step (see `Geometry`) and what is wrong with the steps of sorted slices."""
    if len(slices) == 1:
        thickness = slices[0].thickness_mm
        thickness = thickness if thickness and thickness > 0 else _UNKNOWN_THICKNESS_MM
        return thickness, thickness, None
    steps = np.diff(heights_mm)
    doubled = same_position_steps(heights_mm)
    if doubled.any():
        return max(float(steps.mean()), _SAME_POSITION_MM), 0.0, _doubled_slices(slices, doubled)
    mean = float(steps.mean())
    # Against the whole stack and not step by step, so that small errors do not add up; centred, so that the first
    # slice, whose position is as inexact as any, does not decide alone.
    error = heights_mm - mean * np.arange(len(heights_mm))
    error -= (error.max() + error.min()) / 2
    if np.abs(error).max() <= tolerance_mm(mean):
        return mean, mean, None
    regular = _regular_step(steps)
    return mean, regular, _unequal_steps(slices, steps, regular)


def _regular_step(steps: NDArray[np.float64]) -> float:
    """Return the smallest step that `_COMMON_SHARE` of the steps equal, as their mean; the median if there is none."""
    for step in np.sort(steps):
        alike = steps[np.abs(steps - step) <= GRID_TOLERANCE_VOXELS * step]
        if len(alike) >= _COMMON_SHARE * len(steps):
            return float(alike.mean())
    return float(np.median(steps))


def _doubled_slices(slices: Sequence[Slice], doubled: NDArray[np.bool_]) -> Problem:
    pairs = [f"{slices[n].name} and {slices[n + 1].name}" for n in np.flatnonzero(doubled).tolist()]
    rest = f" and {len(pairs) - _MAX_PAIRS_NAMED} more pairs" * (len(pairs) > _MAX_PAIRS_NAMED)
    what = "no volume: all slices lie" if doubled.all() else "several slices"
    named = "; ".join(pairs[:_MAX_PAIRS_NAMED])
    return Problem("doubled slices", f"{what} at one position, and nothing tells them apart: {named}{rest}")


def _unequal_steps(slices: Sequence[Slice], steps: NDArray[np.float64], regular: float) -> Problem:
    """Return the problem of missing slices if all steps are multiples of the regular one, else of unequal steps."""
    multiples = np.rint(steps / regular)
    tolerance = GRID_TOLERANCE_VOXELS * regular
    all_multiples = (multiples >= 1).all() and (np.abs(steps - multiples * regular) <= tolerance).all()
    odd = np.flatnonzero(np.abs(steps - regular) > tolerance).tolist()
    between = [f"{slices[n].name} and {slices[n + 1].name} ({steps[n]:.4g} mm)" for n in odd]
    named = "; ".join(between[:_MAX_PAIRS_NAMED])
    named += f" and {len(odd) - _MAX_PAIRS_NAMED} more" * (len(odd) > _MAX_PAIRS_NAMED)
    if all_multiples and odd:
        missing = int((multiples - 1).sum())
        bridgeable = missing <= (_MAX_GROWTH - 1) * len(slices)
        what = f"{missing} slice{'s' * (missing != 1)} missing at a step of {regular:.4g} mm"
        if not bridgeable:
            what = f"more slices are missing than there are: {what}"
        return Problem("missing slices", f"{what}: between {named}", "allow_gaps" if bridgeable else None)
    if count := _lattices(steps):
        message = (
            f"its slices are {count} stacks of equal steps that lie between each other (steps of {steps.min():.4g} to "
            f"{steps.max():.4g} mm in turns), as of {count} acquisitions: interpolation would mix them"
        )
        return Problem("mixed acquisitions", message)
    bridgeable = bool(steps.sum() <= _MAX_GROWTH * regular * len(slices))
    message = f"steps of {steps.min():.4g} to {steps.max():.4g} mm" + f": between {named}" * bool(odd)
    return Problem("unequal steps", message, "allow_gaps" if bridgeable else None)


def _lattices(steps: NDArray[np.float64]) -> int:
    """Return how many stacks of equal steps lie between each other, so that steps repeat in turns; 0 for none."""
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    for count in range(2, _MAX_LATTICES + 1):
        if len(heights) < count * _MIN_LATTICE:
            break
        parts = [np.diff(heights[start::count]) for start in range(count)]
        step = float(parts[0].mean())
        if all(np.abs(part - step).max() <= GRID_TOLERANCE_VOXELS * step for part in parts):
            return count
    return 0


def _shear(
    points: NDArray[np.float64], heights_mm: NDArray[np.float64], pixel_mm: float
) -> tuple[tuple[float, float], NDArray[np.bool_]]:
    """Return how far the stack moves in its plane for each mm along the normal, and which slices are off that line.

    Args:
        points: (slice, 3) positions along x, y and the normal in mm, sorted.
        heights_mm: (slice,) along the normal, from 0.
        pixel_mm: the smaller side of a pixel.
    """
    if heights_mm[-1] <= 0:
        return (0.0, 0.0), np.zeros(len(heights_mm), dtype=bool)
    offsets = points[:, :2] - points[0, :2]
    line = np.stack([heights_mm, np.ones_like(heights_mm)], 1)
    shear = np.linalg.lstsq(line, offsets, rcond=None)[0][0]
    residuals = offsets - heights_mm[:, None] * shear
    residuals -= np.median(residuals, axis=0)  # the median: a few shifted slices must not move all others off the line
    shifted = np.abs(residuals).max(axis=1) > tolerance_mm(pixel_mm)
    shear[np.abs(shear) < 1e-9] = 0.0  # rounding of an upright stack
    return (float(shear[0]), float(shear[1])), shifted


def _tilt(shear_xy: tuple[float, float], heights_mm: NDArray[np.float64], pixel_mm: float) -> Problem | None:
    degrees = float(np.degrees(np.arctan(np.hypot(*shear_xy))))
    drift_mm = float(np.hypot(*shear_xy)) * float(heights_mm[-1])
    if degrees <= TILT_DEGREES and drift_mm <= pixel_mm:
        return None
    step_mm = drift_mm / max(len(heights_mm) - 1, 1)
    return Problem(
        "gantry tilt",
        f"the stack leans by {degrees:.3g} degrees: each slice lies {step_mm:.3g} mm further along its own plane",
        "resample_tilt" if degrees <= _MAX_TILT_DEGREES else None,
    )


def _plane(slice_: Slice) -> str:
    normal = np.abs(plane_axes(slice_)[:, 2])
    name = _PLANES[int(np.argmax(normal))]
    return name if normal.max() >= np.cos(np.radians(_STRAIGHT_DEGREES)) else f"oblique {name}"


def _names(slices: Sequence[Slice], most: int = _MAX_SLICES_NAMED) -> str:
    shown = ", ".join(slice_.name for slice_ in slices[:most])
    return shown + f" and {len(slices) - most} more" * (len(slices) > most)
