"""Intervals of volumes, from how much of each structure is in doubt, and how often the truth was how far away.

The scale of an error is the volume that is expected to be wrong: the sum over voxels of the smaller one of probability
and complement, plus the share of the volume on which mirrored copies do not agree. Out of fold, the difference of
reference and answer is measured in that scale, and its quantiles bound the intervals of other answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from medseg.confidence.conformal import coverage, residual_bounds
from medseg.confidence.distance import rounded
from medseg.confidence.measures import CaseMeasures, Example
from medseg.plans.sections.section import Fraction, Section


class VolumeInterval(Section):
    """Where the volume of a structure lies around that of its answer, in units of the doubt.

    Attributes:
        with_agreement: whether the doubt includes that of mirrored copies.
        low: what is added for the lower bound (90 %).
        high: what is added for the upper bound.
        coverage: share of out-of-fold references within intervals that the other folds gave.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("coverage",)

    with_agreement: bool
    low: float
    high: float
    coverage: Fraction | None = None


def doubt(measures: CaseMeasures, name: str, with_agreement: bool) -> float | None:
    """Return the volume that is in doubt, in the unit of the volume; None if it is not known.

    Args:
        measures: of the answer.
        name: the structure.
        with_agreement: whether it includes that of mirrored copies.
    """
    sureness, shape = measures.sureness.get(name), measures.shapes[name]
    if sureness is None or sureness.volume <= 0 or shape.volume <= 0:
        return None
    if with_agreement and sureness.agreement is None:
        return None
    share = sureness.doubt / sureness.volume
    if with_agreement:
        share += 1 - (sureness.agreement or 0.0)
    # never 0, as residuals are divided by it
    return max(share, 1e-6) * shape.volume


def fit_volume_intervals(examples: Sequence[Example], name: str) -> list[VolumeInterval]:
    """Return the intervals of a structure, the better informed one first; none with fewer than nineteen cases.

    Args:
        examples: out-of-fold cases.
        name: the structure.
    """
    fitted = []
    for with_agreement in (True, False):
        residuals, groups = [], []
        for example in examples:
            scale = doubt(example.measures, name, with_agreement)
            if scale is not None and name in example.reference:
                difference = example.reference[name].volume - example.measures.shapes[name].volume
                residuals.append(difference / scale)
                groups.append(example.group)
        bounds = residual_bounds(residuals)
        if bounds is not None:
            low, high = rounded(bounds)
            share = coverage(residuals, groups)
            fitted.append(
                VolumeInterval(
                    with_agreement=with_agreement,
                    low=low,
                    high=high,
                    coverage=None if share is None else round(share, 4),
                )
            )
    return fitted


def volume_bounds(intervals: Sequence[VolumeInterval], measures: CaseMeasures, name: str) -> tuple[float, float] | None:
    """Return the bounds of a volume, in the unit of the volume; None where nothing is known.

    Args:
        intervals: of the structure.
        measures: of the answer.
        name: the structure.
    """
    for interval in intervals:
        scale = doubt(measures, name, interval.with_agreement)
        if scale is not None:
            volume = measures.shapes[name].volume
            return max(0.0, volume + interval.low * scale), max(0.0, volume + interval.high * scale)
    return None
