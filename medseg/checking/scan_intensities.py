"""Compare the values of a scan with those of a model's training scans, as far as its plan records them.

What a model knows is in `data.scans` (plans made by this version) and, of the structures, in `data.intensities`.
"""

from __future__ import annotations

from numpy.typing import NDArray

from medseg.checking.scan_contrast import compare_contrast
from medseg.checking.scan_finding import Bounds, ScanFinding, span, times_outside
from medseg.planning.content import ValuePattern, channel_quantiles, value_pattern
from medseg.plans.schema import Configuration, Plan
from medseg.plans.sections.data import ChannelRange, Intensity

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
_ANYWAY = "For an answer all the same: --set inference.unlike_scans=warn."


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
            findings += _like_ct(subject, channel, before) or compare_contrast(subject, channel, before)
    return findings


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
    times = times_outside(spread, (before.spread[0], before.spread[1]))
    if max(times, 1 / times) >= _SPREAD_WARNED:
        message = f"{subject} has values that spread over {spread:.3g}; the training scans over {span(before.spread)}."
        return [ScanFinding("intensity", max(times, 1 / times) >= _SPREAD_REFUSED, message, hint)]
    beyond = [_beyond(value, *of) for value, *of in zip(quantiles, *before.quantiles, strict=True)]
    shift = min(beyond) if min(beyond) > 0 else max(beyond) if max(beyond) < 0 else 0.0
    if abs(shift) >= _SHIFT_WARNED * before.spread[1] > 0:
        message = (
            f"{subject} has values that are shifted as a whole: their median is {quantiles[2]:.4g}; in the training "
            f"scans it is {span([before.quantiles[0][2], before.quantiles[1][2]])}."
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
