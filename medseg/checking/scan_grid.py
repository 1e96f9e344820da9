"""Compare the grid of a scan with those of a model's training scans, and with the memory that there is.

What a model knows is in its plan: `data.scans` (plans made by this version; models of nnU-Net's with their
dataset_fingerprint.json), and the planned spacing and median size, which all models have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from medseg.checking.scan_finding import Bounds, ScanFinding, span, times_outside
from medseg.plans.schema import Configuration, Plan

_SPACING_WARNED, _SPACING_WARNED_OF_MEDIAN = 2.02, 4.0
"""A spacing this many times outside the range of training is named; twice that where only the median is known, as slice
distances within one data set commonly differ by a factor of 2 from their median. A matrix of 512 in place of 256 halves
the spacing, which is no fault, and headers round it."""
_SIZE_WARNED, _SIZE_WARNED_OF_MEDIAN = 3.0, 6.0
"""As above for the length of a scan: crops and larger fields of view are common, and networks see tiles anyway."""
_REFUSED, _REFUSED_OF_MEDIAN = 5.0, 8.0
"""A scan whose spacing and length are both this far outside along every axis is measured in another unit: cm, inches
and µm for mm are factors of 10, 25.4 and 1,000, of which the spread of the training scans takes its part. Both are
asked for, so that a scan of the same body at a finer resolution, or a small part of one, is none."""
_FEWEST_ON_GRID, _MANY_STORED = 4, 8
"""An axis of at least 8 voxels of which resampling leaves fewer than 4 is lost on the network's grid."""
_LONG = 10_000
"""Numbers from here on are written out with commas, and smaller ones with four digits."""
_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class ScanGrid:
    """The grid of a scan; axes (z, y, x) in the plan's orientation, before `transpose_forward`.

    Attributes:
        spacing: the spacing, in mm, or in pixels if it is unknown.
        content_voxels: shape of the nonzero box.
        network_voxels: shape of the nonzero box on the network's grid.
        planned_spacing: spacing of the network's grid.
    """

    spacing: tuple[float, float, float]
    content_voxels: tuple[int, int, int]
    network_voxels: tuple[int, int, int]
    planned_spacing: tuple[float, float, float]

    @property
    def size(self) -> tuple[float, float, float]:
        """Length of the nonzero box along each axis, in the unit of the spacing."""
        z, y, x = (spacing * count for spacing, count in zip(self.spacing, self.content_voxels, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Known:
    """The grids of a model's training scans, as far as its plan records them.

    Attributes:
        spacing: the bounds along each axis (z, y, x); None along an axis of which nothing is known.
        size: the bounds of the length of the nonzero box along each axis.
        ranges: True if these are ranges, False if lower and upper bound are both the median.
    """

    spacing: tuple[Bounds | None, ...]
    size: tuple[Bounds | None, ...]
    ranges: bool


def known_grids(plan: Plan, configuration: Configuration) -> Known:
    """Return the recorded grids of a model's training scans: ranges, else the medians that it was planned from.

    Args:
        plan: the plan of the model.
        configuration: its configuration.
    """
    if plan.data.scans is not None:
        size_of: list[Bounds | None]
        spacing = _bounds(plan.data.scans.spacing)
        size = _bounds(plan.data.scans.size)
        # an axis along which every training scan had one voxel: the images are 2D
        size_of = [None if length[1] <= step[1] else length for step, length in zip(spacing, size, strict=True)]
        return Known(tuple(spacing), tuple(size_of), ranges=True)
    spacings, lengths = _medians(plan, configuration)
    spacing_of: list[Bounds | None] = [None, None, None]
    size_of = [None, None, None]
    for axis, step, length in zip(plan.transpose_forward[-len(spacings) :], spacings, lengths, strict=True):
        spacing_of[axis] = (step, step)
        size_of[axis] = (length, length) if length > step else None
    return Known(tuple(spacing_of), tuple(size_of), ranges=False)


def _bounds(vectors: Sequence[Sequence[float]]) -> list[Bounds]:
    low, high = vectors
    return list(zip(low, high, strict=True))


def _medians(plan: Plan, configuration: Configuration) -> tuple[list[float], list[float]]:
    """Return median spacing and size along the network's axes; of all three where nnU-Net's plan has them."""
    original = plan.nnunet.get("plans", {})
    spacing = original.get("original_median_spacing_after_transp")
    shape = original.get("original_median_shape_after_transp")
    if not (_are_positive(spacing) and _are_positive(shape)):
        # of the finest configuration: that of a low resolution is coarser than the scans
        finest = plan.configuration("3d_fullres") if "3d_fullres" in plan.configurations else configuration
        spacing, shape = finest.spacing_mm, finest.median_shape_voxels
    return [*map(float, spacing)], [float(step * count) for step, count in zip(spacing, shape, strict=True)]


def _are_positive(values: object) -> bool:
    return isinstance(values, list) and len(values) == 3 and all(isinstance(v, int | float) and v > 0 for v in values)


def compare_grid(grid: ScanGrid, plan: Plan, configuration: Configuration) -> list[ScanFinding]:
    """Return how the grid of a scan differs from those that a model was trained on.

    Args:
        grid: the grid of the scan.
        plan: the plan of the model.
        configuration: its configuration.
    """
    known = known_grids(plan, configuration)
    axes = [axis for axis in range(3) if grid.content_voxels[axis] > 1 and known.size[axis] is not None]
    spacings = [times_outside(grid.spacing[axis], known.spacing[axis]) for axis in axes]
    sizes = [times_outside(grid.size[axis], known.size[axis]) for axis in axes]
    unit = "mm" if plan.data.spacing_known else "pixels"
    limit = _REFUSED if known.ranges else _REFUSED_OF_MEDIAN
    seen = f"has voxels of {_times(grid.spacing)} {unit} (z, y, x) and is {_times(grid.size)} {unit} large"
    expected = (
        f"the training scans had voxels of {_spans(known.spacing)} and were {_spans(known.size)} {unit} large"
        f"{'' if known.ranges else ' (medians)'}"
    )
    if axes and (
        all(min(pair) >= limit for pair in zip(spacings, sizes, strict=True))
        or all(max(pair) <= 1 / limit for pair in zip(spacings, sizes, strict=True))
    ):
        message = (
            f"It {seen} by its header; {expected}. On the network's grid of {_times(grid.planned_spacing)} {unit} it "
            f"would have {_times(grid.network_voxels)} voxels. Is the spacing in its header in another unit?"
        )
        return [ScanFinding("spacing", True, message, _SPACING_HINT)]
    findings = []
    warned = _SPACING_WARNED if known.ranges else _SPACING_WARNED_OF_MEDIAN
    named = _outside_axes(axes, spacings, warned)
    if named:
        message = f"Its spacing is unusual along {named}: it has voxels of {_times(grid.spacing)} {unit} (z, y, x); "
        findings.append(ScanFinding("spacing", False, message + expected + ".", _SPACING_HINT))
    named = _outside_axes(axes, sizes, _SIZE_WARNED if known.ranges else _SIZE_WARNED_OF_MEDIAN)
    if named:
        message = f"Its size is unusual along {named}: it {seen}; {expected}."
        findings.append(ScanFinding("size", False, message, "Look whether it is a whole scan, of the same body part."))
    return findings + _lost_axes(grid, unit, bool(findings))


_SPACING_HINT = (
    "If the header is wrong, correct it, or say how large the voxels are as they are stored: --set "
    "inference.spacing=[Z,Y,X]. If it is right, and you want an answer all the same: --set inference.unlike_scans=warn."
)


def _lost_axes(grid: ScanGrid, unit: str, warned: bool) -> list[ScanFinding]:
    """Return a finding on axes along which resampling leaves hardly any voxel, unless another finding says so."""
    pairs = zip(grid.content_voxels, grid.network_voxels, strict=True)
    lost = [axis for axis, (stored, left) in enumerate(pairs) if stored >= _MANY_STORED and left < _FEWEST_ON_GRID]
    if warned or not lost:
        return []
    message = (
        f"Its {_times(grid.content_voxels)} voxels of {_times(grid.spacing)} {unit} (z, y, x) become "
        f"{_times(grid.network_voxels)} on the network's grid of {_times(grid.planned_spacing)} {unit}."
    )
    return [ScanFinding("grid", False, message, _SPACING_HINT)]


def memory_finding(grid: ScanGrid, channels: int, free_bytes: float) -> ScanFinding | None:
    """Return a refusal if a scan on the network's grid does not fit into memory; nothing is allocated to find out.

    Args:
        grid: the grid of the scan.
        channels: number of its channels.
        free_bytes: memory that there is.
    """
    needed = 4 * channels * prod(grid.network_voxels)  # float32
    if needed <= free_bytes:
        return None
    message = (
        f"On the network's grid of {_times(grid.planned_spacing)} the scan would have {_times(grid.network_voxels)} "
        f"voxels (z, y, x), which take {_bytes(needed)} of memory; {_bytes(free_bytes)} are free. It has "
        f"{_times(grid.content_voxels)} voxels with a spacing of {_times(grid.spacing)}."
    )
    hint = (
        "If the spacing in its header is wrong, correct it, or say how large the voxels are: --set "
        "inference.spacing=[Z,Y,X]. Else close other programs, crop the scan, or take a machine with more memory."
    )
    return ScanFinding("memory", True, message, hint)


def _outside_axes(axes: Sequence[int], times: Sequence[float], limit: float) -> str:
    """Return the names of the axes that are outside by a factor."""
    names = [_AXES[axis] for axis, factor in zip(axes, times, strict=True) if not 1 / limit < factor < limit]
    return " and ".join(names)


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" if abs(value) < _LONG else f"{value:,.0f}" for value in values)


def _spans(bounds: Sequence[Bounds | None]) -> str:
    return " x ".join("?" if pair is None else span(pair) for pair in bounds)


def _bytes(count: float) -> str:
    """Return a number of bytes in words.

    >>> _bytes(245e12), _bytes(3.2e9)
    ('245,000 GB', '3.2 GB')
    """
    return f"{count / 1e9:,.0f} GB" if count >= 1e10 else f"{count / 1e9:.1f} GB"
