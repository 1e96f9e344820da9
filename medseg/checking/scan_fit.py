"""Compare a scan with what a model knows of its training scans, before anything is computed.

`predict`, `watch` and `Predictor` ask `compare_grid` and `compare_intensities` about every scan. What a model knows is
in its plan: `data.scans` (plans made by this version; models of nnU-Net's with their dataset_fingerprint.json, without
intensities), `data.intensities`, and the planned spacing and median size, which all models have.

A **warning** says what differs, and the scan is segmented. A **refusal** is for scans whose answer cannot mean
anything; `inference.unlike_scans: warn` makes it a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from numpy.typing import NDArray

from medseg.planning.content import ValuePattern, channel_quantiles, value_pattern
from medseg.plans.schema import Configuration, Plan
from medseg.plans.sections.data import ChannelRange, Intensity

Bounds = tuple[float, float]
"""The smallest and the largest value of the training scans."""

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
_HARDLY_ANY_VALUES, _FEW_VALUES, _MOST_LABELS = 4, 16, 256
_EQUAL_OF_FEW, _EQUAL_OF_MANY = 0.5, 0.8
"""A label map has at most 4 values, or at most 16 (256) and half (0.8) of the voxels beside an equal one. Small
structures have many edges; of the public test sets, only dark pictures (nuclei: 0.56, 29 values) come
near."""
_FEWER_VALUES = 4
"""A label map is refused if every training scan had at least this many times its values, and other neighbours."""
_ABSOLUTE = ("ct", "rgb_0_1", "rgb_minus1_1", "imagenet_red", "imagenet_green", "imagenet_blue", "none")
"""Normalizations after which scale and offset of the intensities still matter. The others take them from the scan."""
_SPREAD_WARNED, _SPREAD_REFUSED = 4.0, 50.0
"""How many times the spread of the intensities may be outside of that of training: air and padding alone change it
about threefold; a factor of 50 and more is a scan in another unit (CT scaled to 0 to 1, 16 bits for 8)."""
_SHIFT_WARNED = 0.25
"""All quantiles beyond those of training by this share of the largest spread: an offset (CT stored from 0 on)."""
_HOUNSFIELD = (-1100, 4000)
"""Range of Hounsfield units in a body: air is -1000, dense bone and enamel reach 3,000."""
_LIKE_CT = -500
"""A scan of which 5 % lie below this has air around or in the body, if it is CT; interpolation of MR goes a little
below zero."""
_LEAST_OF_WINDOW = 1 / 20
"""A CT scan that spans less than this share of the structures' intensities shows none of them."""
_LONG = 10_000
"""Numbers from here on are written out with commas, and smaller ones with four digits."""
_AXES = ("z", "y", "x")


@dataclass(frozen=True)
class ScanFinding:
    """A difference between a scan and the training scans of a model.

    Attributes:
        kind: `spacing`, `size`, `grid`, `memory`, `constant`, `label map`, `intensity` or `modality`.
        refused: whether the answer could not mean anything.
        message: what was seen and what was expected.
        hint: what to do about it.
    """

    kind: str
    refused: bool
    message: str
    hint: str


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
    spacings = [_times_outside(grid.spacing[axis], known.spacing[axis]) for axis in axes]
    sizes = [_times_outside(grid.size[axis], known.size[axis]) for axis in axes]
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


def compare_intensities(array: NDArray, plan: Plan, configuration: Configuration) -> list[ScanFinding]:
    """Return how the intensities of a scan differ from those that a model was trained on.

    Args:
        array: (channel, z, y, x) values as stored.
        plan: the plan of the model.
        configuration: has the normalization of each channel.
    """
    extremes = [(float(channel.min()), float(channel.max())) for channel in array]
    if all(low == high for low, high in extremes):
        message = f"It holds the value {extremes[0][0]:g} in every voxel."
        # among the slices of a volume that are images of their own, some are empty: their answers are, too
        refused = plan.data.dimensions == 3
        return [ScanFinding("constant", refused, message, f"Export it again: there is nothing to see in it. {_ANYWAY}")]
    findings: list[ScanFinding] = []
    scans = plan.data.scans
    several = len(array) > 1
    for number, (channel, bounds) in enumerate(zip(array, extremes, strict=True)):
        subject = f"Its channel {plan.data.channels[number]}" if several else "It"
        before = scans.channels[number] if scans is not None and number < len(scans.channels) else None
        if bounds[0] == bounds[1]:
            if before is None or before.fewest_values > 1:
                message = f"{subject} holds the value {bounds[0]:g} in every voxel."
                findings.append(ScanFinding("constant", False, message, "Is it the right file of this channel?"))
            continue
        like_labels = _label_map(subject, value_pattern(channel), before)
        if like_labels is not None:
            findings.append(like_labels)
        elif configuration.normalization[number].scheme in _ABSOLUTE:
            is_ct = configuration.normalization[number].scheme == "ct"
            intensity = plan.data.intensities[number] if is_ct and plan.data.intensities else None
            findings += _unlike_values(subject, channel, bounds, before, intensity)
        else:
            findings += _like_ct(subject, channel, before)
    return findings


_ANYWAY = "For an answer all the same: --set inference.unlike_scans=warn."


def looks_like_labels(pattern: ValuePattern) -> bool:
    """Return whether a channel looks like a label map: few different whole numbers, in areas of one value."""
    few, equal = pattern.values, pattern.equal_neighbours
    return pattern.whole and (
        few <= _HARDLY_ANY_VALUES
        or (few <= _FEW_VALUES and equal >= _EQUAL_OF_FEW)
        or (few <= _MOST_LABELS and equal >= _EQUAL_OF_MANY)
    )


def _label_map(subject: str, pattern: ValuePattern, before: ChannelRange | None) -> ScanFinding | None:
    """Return a finding on a channel that looks like a label map, unless the training scans looked so too."""
    if not looks_like_labels(pattern):
        return None
    few, equal = pattern.values, pattern.equal_neighbours
    if before is not None and (before.fewest_values <= few or before.most_equal >= equal):
        return None
    refused = before is not None and before.fewest_values >= _FEWER_VALUES * few and before.most_equal < _EQUAL_OF_FEW
    message = f"{subject} looks like a label map, not like a scan: {few} different values, in areas of one value"
    message += "." if before is None else f"; the training scans had at least {before.fewest_values}."
    return ScanFinding("label map", refused, message, f"Name the scans, not their masks. {_ANYWAY}")


def _like_ct(subject: str, channel: NDArray, before: ChannelRange | None) -> list[ScanFinding]:
    """Return a finding on a channel that reaches down as CT does, where no training scan went below zero.

    Normalizations that take scale and offset from the scan hide what it was.
    """
    low = channel_quantiles(channel)[0]
    if before is None or before.quantiles[0][0] < 0 or low > _LIKE_CT:
        return []
    message = (
        f"{subject} reaches down to {low:.4g}, as CT does, in which air is -1000; the training scans had no values "
        "below zero."
    )
    return [ScanFinding("intensity", False, message, "Choose a scan of the modality that was trained on.")]


def _unlike_values(
    subject: str, channel: NDArray, bounds: Bounds, before: ChannelRange | None, intensity: Intensity | None
) -> list[ScanFinding]:
    """Return a finding on the scale and offset of a channel's values; `intensity` is that of structures in CT."""
    low, high = bounds
    hint = f"A wrong scale or offset has to be undone in the file. {_ANYWAY}"
    if intensity is not None and _in_hounsfield(intensity):
        window = intensity.percentile_99_5 - intensity.percentile_00_5
        outside = low > intensity.percentile_99_5 or high < intensity.percentile_00_5
        if outside or high - low < _LEAST_OF_WINDOW * window:
            message = (
                f"{subject} has values from {low:.4g} to {high:.4g}; in the training scans the structures have "
                f"{intensity.percentile_00_5:.4g} to {intensity.percentile_99_5:.4g}."
            )
            return [ScanFinding("intensity", True, message, hint)]
        lowest = before.quantiles[1][0] if before is not None else intensity.percentile_00_5
        if low >= 0 and lowest < 0:
            message = f"{subject} has no value below zero, as CT in Hounsfield units has (air is -1000)."
            return [ScanFinding("intensity", False, message, hint)]
    if before is None:
        return []
    quantiles = channel_quantiles(channel)
    spread = (quantiles[-1] - quantiles[0]) or high - low
    times = _times_outside(spread, (before.spread[0], before.spread[1]))
    if max(times, 1 / times) >= _SPREAD_WARNED:
        message = f"{subject} has values that spread over {spread:.3g}; the training scans over {_span(before.spread)}."
        return [ScanFinding("intensity", max(times, 1 / times) >= _SPREAD_REFUSED, message, hint)]
    beyond = [_beyond(value, *of) for value, *of in zip(quantiles, *before.quantiles, strict=True)]
    shift = min(beyond) if min(beyond) > 0 else max(beyond) if max(beyond) < 0 else 0.0
    if abs(shift) >= _SHIFT_WARNED * before.spread[1] > 0:
        message = (
            f"{subject} has values that are shifted as a whole: their median is {quantiles[2]:.4g}; in the training "
            f"scans it is {_span([before.quantiles[0][2], before.quantiles[1][2]])}."
        )
        return [ScanFinding("intensity", False, message, hint)]
    return []


def _in_hounsfield(intensity: Intensity) -> bool:
    """Return whether intensities of structures are plausible Hounsfield units: `ct` may also normalize other scans."""
    low, high = _HOUNSFIELD
    return intensity.min < 0 and low <= intensity.percentile_00_5 and intensity.percentile_99_5 <= high


def _beyond(value: float, low: float, high: float) -> float:
    """Return how far a value lies above (positive) or below (negative) a range; 0 within it."""
    return max(value - high, 0.0) + min(value - low, 0.0)


def _times_outside(value: float, bounds: Bounds | None) -> float:
    """Return how many times larger than the upper bound a value is, or a share of the lower one; 1 within them.

    >>> _times_outside(4.0, (1.0, 2.0)), _times_outside(0.5, (1.0, 2.0)), _times_outside(1.5, (1.0, 2.0))
    (2.0, 0.5, 1.0)
    """
    if bounds is None:
        return 1.0
    low, high = bounds
    if value > high:
        return value / high if high > 0 else inf
    return max(value, 1e-30) / low if value < low else 1.0


def _outside_axes(axes: Sequence[int], times: Sequence[float], limit: float) -> str:
    """Return the names of the axes that are outside by a factor."""
    names = [_AXES[axis] for axis, factor in zip(axes, times, strict=True) if not 1 / limit < factor < limit]
    return " and ".join(names)


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" if abs(value) < _LONG else f"{value:,.0f}" for value in values)


def _spans(bounds: Sequence[Bounds | None]) -> str:
    return " x ".join("?" if pair is None else _span(pair) for pair in bounds)


def _span(bounds: Sequence[float]) -> str:
    low, high = (f"{value:.3g}" for value in bounds)
    return low if low == high else f"{low} to {high}"


def _bytes(count: float) -> str:
    """Return a number of bytes in words.

    >>> _bytes(245e12), _bytes(3.2e9)
    ('245,000 GB', '3.2 GB')
    """
    return f"{count / 1e9:,.0f} GB" if count >= 1e10 else f"{count / 1e9:.1f} GB"
