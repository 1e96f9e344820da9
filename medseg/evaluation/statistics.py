"""Statistics over cases: location, spread, intervals that respect patients, and paired comparisons.

The unit of resampling is the patient, because scans of one patient are not independent: whole patients are drawn,
with all their cases. Undefined figures (None, or NaN) are left out, and how many were left is always told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20210207
"""Intervals are the same each time; the seed stands in every output that holds one."""

METHOD = (
    f"{CONFIDENCE:.0%} interval of the mean: bootstrap over patients ({RESAMPLES} resamples, seed {SEED}), bias-"
    "corrected and accelerated (Efron 1987), widened for few patients (Hesterberg 2015, 'expanded percentile')"
)

_FEWEST_GROUPS = 3
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Distribution:
    """A figure over the cases in which it is defined.

    Attributes:
        n: cases in which it is defined.
        n_groups: patients that these cases come from.
        mean, median, q1, q3, minimum, maximum: None where n is 0; quartiles interpolate linearly.
        low, high: bounds of the interval of the mean (`METHOD`); None with fewer than three patients.
    """

    n: int
    n_groups: int
    mean: float | None = None
    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One figure of two predictions on the same cases.

    Attributes:
        difference: the first minus the second, over the cases in which both are defined.
        p: two-sided Wilcoxon signed-rank test of the patients' mean differences, zeros counted as ties
            (Pratt 1959); None with fewer than three patients or without any difference.
        p_holm: the same after Holm's correction (1979) over the figures that were compared together.
    """

    difference: Distribution
    p: float | None
    p_holm: float | None = None


def describe(values: Sequence[float | None], groups: Sequence[str]) -> Distribution:
    """Location, spread and interval of a figure.

    Args:
        values: one per case; None or NaN where undefined.
        groups: the patient of each case.
    """
    figures, patients = _defined(values, groups)
    if not figures.size:
        return Distribution(0, 0)
    q1, median, q3 = np.quantile(figures, [0.25, 0.5, 0.75])
    low, high = interval_of_mean(figures[:, None], patients) or (None, None)
    return Distribution(
        n=len(figures),
        n_groups=len(np.unique(patients)),
        mean=float(figures.mean()),
        median=float(median),
        q1=float(q1),
        q3=float(q3),
        minimum=float(figures.min()),
        maximum=float(figures.max()),
        low=low,
        high=high,
    )


def interval_of_mean(figures: NDArray[np.float64], groups: NDArray) -> tuple[float, float] | None:
    """Interval of the mean over columns of each column's mean over cases.

    Args:
        figures: (cases, columns); NaN where a figure is undefined. One column gives the interval of its mean, several
            (one a structure) that of the mean over structures.
        groups: (cases,) patients.

    Returns:
        Lower and upper bound, as `METHOD` says; None with fewer than three patients.
    """
    names, number = np.unique(groups, return_inverse=True)
    n = len(names)
    if n < _FEWEST_GROUPS:
        return None
    defined = np.isfinite(figures)
    sums, counts = (np.zeros((n, figures.shape[1])) for _ in range(2))
    np.add.at(sums, number, np.where(defined, figures, 0.0))
    np.add.at(counts, number, defined.astype(float))
    estimate = float(_means(sums.sum(0, keepdims=True), counts.sum(0, keepdims=True))[0])
    resampled = _resample(sums, counts)
    if np.ptp(resampled) == 0:
        return estimate, estimate
    left_out = _means(sums.sum(0) - sums, counts.sum(0) - counts)
    low, high = np.quantile(resampled, _levels(resampled, estimate, left_out[np.isfinite(left_out)], n))
    return float(low), float(high)


def compare(first: Sequence[float | None], second: Sequence[float | None], groups: Sequence[str]) -> Comparison:
    """Paired comparison of a figure of two predictions; entry i of both is the same case."""
    from scipy.stats import wilcoxon

    pairs = zip(first, second, strict=True)
    differences = [None if a is None or b is None else a - b for a, b in pairs]
    figures, patients = _defined(differences, groups)
    names, number = np.unique(patients, return_inverse=True)
    by_patient = np.bincount(number, figures) / np.bincount(number) if names.size else figures
    testable = len(names) >= _FEWEST_GROUPS and bool(by_patient.any())
    p = float(wilcoxon(by_patient, zero_method="pratt").pvalue) if testable else None
    return Comparison(describe(differences, groups), p)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction (1979) of the p values that there are; the others stay None.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    ordered = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for rank, (p, name) in enumerate(ordered):
        highest = max(highest, min(1.0, p * (len(ordered) - rank)))
        corrected[name] = highest
    return corrected


def _defined(values: Sequence[float | None], groups: Sequence[str]) -> tuple[NDArray[np.float64], NDArray]:
    figures = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    keep = np.isfinite(figures)
    return figures[keep], np.asarray(groups, dtype=object)[keep].astype(str)


def _means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, columns) sums and counts to (rows,): mean over the columns that have a count."""
    there = counts > 0
    columns = np.divide(sums, counts, out=np.zeros_like(sums), where=there)
    n = there.sum(axis=1)
    return np.divide(columns.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)


def _resample(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean in each resample of the patients, sorted."""
    n = len(sums)
    random = np.random.default_rng(SEED)
    rows = max(1, _BLOCK // n)  # bounds the memory of the weights
    parts = []
    for start in range(0, RESAMPLES, rows):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(rows, RESAMPLES - start))
        parts.append(_means(weights @ sums, weights @ counts))
    resampled = np.concatenate(parts)
    return np.sort(resampled[np.isfinite(resampled)])


def _levels(resampled: NDArray, estimate: float, left_out: NDArray, n: int) -> NDArray[np.float64]:
    """Quantiles of the resamples that bound the interval: BCa's, from levels widened for `n` patients."""
    from scipy.stats import norm, t

    tail = norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - CONFIDENCE) / 2, n - 1))
    below = np.searchsorted(resampled, estimate, "left") + np.searchsorted(resampled, estimate, "right")
    bias = norm.ppf(np.clip(below / (2 * len(resampled)), 1 / len(resampled), 1 - 1 / len(resampled)))
    spread = left_out.mean() - left_out
    size = float((spread**2).sum()) ** 1.5
    acceleration = float((spread**3).sum()) / (6 * size) if size > 0 else 0.0
    z = bias + norm.ppf([tail, 1 - tail])
    levels: NDArray[np.float64] = norm.cdf(bias + z / (1 - acceleration * z))
    return levels
