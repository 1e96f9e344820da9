"""The range of the training scans, kept in the plan, so that other scans can be compared with them later."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.planning.content import ChannelContent
from medseg.planning.contrast import asymmetry
from medseg.planning.survey import CaseFacts
from medseg.plans.sections.data import ChannelRange, ScanRange

_FEWEST_SCANS = 5
"""From which it is said how bright and dark areas differ."""
_DIGITS = 6
"""Significant digits that are kept: plans are read by people, and what is compared differs by factors."""


def scan_range(cases: Sequence[CaseFacts], odd: Collection[str] = ()) -> ScanRange:
    """Return the ranges of grids and intensities over the cases of a data set.

    Args:
        cases: facts on the cases, of which there is at least one.
        odd: ids of cases that the check calls unlike the rest: what may be wrong is no example of what is right. They
            count all the same if there is no other.
    """
    usual = [case for case in cases if case.id not in odd] or list(cases)
    spacing = np.array([case.spacing_mm for case in usual])
    size = spacing * np.array([case.cropped_voxels for case in usual])
    channels = zip(*(case.content.channels for case in usual), strict=True)
    return ScanRange(spacing=_bounds(spacing), size=_bounds(size), channels=[_channel_range(c) for c in channels])


def _channel_range(contents: Sequence[ChannelContent]) -> ChannelRange:
    spreads = np.array([content.spread for content in contents])
    return ChannelRange(
        quantiles=_bounds(np.array([content.quantiles for content in contents])),
        spread=_bounds(spreads),
        fewest_values=min(content.pattern.values for content in contents),
        most_equal=max(content.pattern.equal_neighbours for content in contents),
        modalities=sorted({content.modality for content in contents} - {""}),
        **_contrast(contents),
    )


def _contrast(contents: Sequence[ChannelContent]) -> dict[str, list[float]]:
    """Return the ranges of the figures by which an inverted scan is known; {} where they say nothing."""
    rough = [content.roughness for content in contents if content.roughness is not None]
    if len(rough) < max(_FEWEST_SCANS, len(contents)):
        return {}
    asymmetries = [asymmetry(content.quantiles) for content in contents]
    return {"roughness": [min(rough), max(rough)], "asymmetry": [min(asymmetries), max(asymmetries)]}


def _bounds(values: NDArray[np.float64]) -> list:
    """Return the smallest and the largest of values (cases, ...)."""
    return [_rounded(values.min(axis=0)), _rounded(values.max(axis=0))]


def _rounded(values: NDArray[np.float64]) -> list[float] | float:
    if values.ndim:
        return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]
    return float(f"{float(values):.{_DIGITS}g}")
