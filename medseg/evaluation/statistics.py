"""Statistics over cases: location, spread, intervals that respect patients, and paired comparisons.

The unit of resampling is the patient, because scans of one patient are not independent: whole patients are drawn,
with all their cases. Undefined figures (None, or NaN) are left out, and how many are defined is always returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20210207
"""Fixed, so that intervals are the same each time; it stands in every output that holds an interval."""

METHOD = (
    f"{CONFIDENCE:.0%} interval of the mean: bootstrap over patients ({RESAMPLES} resamples, seed {SEED}), bias-"
    "corrected and accelerated (Efron 1987), widened for few patients (Hesterberg 2015, 'expanded percentile')"
)

"""How intervals are made, for every output."""

_FEWEST_GROUPS = 3
"""With two patients the resamples are three values: no interval can be read from them."""

_WEIGHTS_A_BLOCK = 1 << 22
"""Weights of resamples held at a time: 32 MB."""


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are defined; None where there are none.

    >>> mean_defined([0.5, None, 1.0]), mean_defined([None])
    (0.75, None)
    """
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None


@dataclass(frozen=True)
class Distribution:
    """A figure over the cases in which it is defined; all but the counts are None where there are none.

    Attributes:
        n: cases in which it is defined.
        n_groups: patients that these cases come from.
        mean: mean over the cases.
        median: median over the cases.
        q1: first quartile, interpolated linearly.
        q3: third quartile, likewise.
        minimum: lowest value.
        maximum: highest value.
        low: lower bound of the interval of the mean (`METHOD`); None with fewer than three patients.
        high: upper bound, likewise.
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
    """The difference of one figure between two predictions of the same cases.

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
    """Return location, spread and interval of a figure.

    Args:
        values: one per case; None or NaN where undefined.
        groups: the patient of each case.

    >>> distribution = describe([0.8, None, 0.9], ["p1", "p2", "p3"])
    >>> distribution.n, round(distribution.mean, 2), distribution.low
    (2, 0.85, None)
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
    """Return the interval of the mean over columns of each column's mean over cases.

    Args:
        figures: (cases, columns); NaN where a figure is undefined. One column gives the interval of its mean, several
            (one per structure) that of the mean over structures.
        groups: (cases,) patients.

    Returns:
        Lower and upper bound, as `METHOD` says; None with fewer than three patients.
    """
    names, number = np.unique(groups, return_inverse=True)
    n = len(names)
    if n < _FEWEST_GROUPS:
        return None
    defined = np.isfinite(figures)
    # Sums and counts by patient are all that a resample of patients needs: cases are not touched again.
    sums, counts = (np.zeros((n, figures.shape[1])) for _ in range(2))
    np.add.at(sums, number, np.where(defined, figures, 0.0))
    np.add.at(counts, number, defined.astype(float))
    estimate = float(_means(sums.sum(0, keepdims=True), counts.sum(0, keepdims=True))[0])
    resampled = _resample(sums, counts)
    if np.ptp(resampled) == 0:
        return estimate, estimate
    jackknife = _means(sums.sum(0) - sums, counts.sum(0) - counts)  # the mean without each of the patients
    low, high = np.quantile(resampled, _levels(resampled, estimate, jackknife[np.isfinite(jackknife)], n))
    return float(low), float(high)


def compare(first: Sequence[float | None], second: Sequence[float | None], groups: Sequence[str]) -> Comparison:
    """Compare a figure of two predictions, paired by case.

    Args:
        first: one value per case; None or NaN where undefined.
        second: values of the same cases, which are subtracted.
        groups: the patient of each case.

    Returns:
        The distribution of the differences (first minus second), and the p value of a signed-rank test.
    """
    from scipy.stats import wilcoxon

    differences = [None if a is None or b is None else a - b for a, b in zip(first, second, strict=True)]
    figures, patients = _defined(differences, groups)
    names, number = np.unique(patients, return_inverse=True)
    by_patient = np.bincount(number, figures) / np.bincount(number) if names.size else figures
    testable = len(names) >= _FEWEST_GROUPS and bool(by_patient.any())
    p = float(wilcoxon(by_patient, zero_method="pratt").pvalue) if testable else None
    return Comparison(describe(differences, groups), p)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Correct p values by Holm's step-down procedure (1979); those that are None stay None.

    Returns:
        The corrected p values, by the same keys.

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
    """Return the values that are defined, and the patients of their cases."""
    figures = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    keep = np.isfinite(figures)
    return figures[keep], np.asarray(groups, dtype=object)[keep].astype(str)


def _means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (rows,) means over the columns that have a count, from (rows, columns) sums and counts."""
    has_count = counts > 0
    columns = np.divide(sums, counts, out=np.zeros_like(sums), where=has_count)
    n = has_count.sum(axis=1)
    return np.divide(columns.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)


def _resample(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean in each resample of the patients, sorted."""
    n = len(sums)
    random = np.random.default_rng(SEED)
    rows = max(1, _WEIGHTS_A_BLOCK // n)
    parts = []
    # Drawing n patients with replacement means giving each a count; the counts are multinomial.
    for start in range(0, RESAMPLES, rows):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(rows, RESAMPLES - start))
        parts.append(_means(weights @ sums, weights @ counts))
    resampled = np.concatenate(parts)
    return np.sort(resampled[np.isfinite(resampled)])


def _levels(resampled: NDArray, estimate: float, jackknife: NDArray, n: int) -> NDArray[np.float64]:
    """Return the quantiles of the resamples that bound the interval: BCa's, from levels widened for `n` patients."""
    from scipy.stats import norm, t

    # The bootstrap divides by n instead of n - 1 and has normal tails; Hesterberg 2015 corrects for both.
    tail = norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - CONFIDENCE) / 2, n - 1))
    # Efron 1987: the bias is the share of resamples below the estimate, ties counted by half; clipped to be finite.
    twice_below = np.searchsorted(resampled, estimate, "left") + np.searchsorted(resampled, estimate, "right")
    bias = norm.ppf(np.clip(twice_below / (2 * len(resampled)), 1 / len(resampled), 1 - 1 / len(resampled)))
    deviation = jackknife.mean() - jackknife
    scale = float((deviation**2).sum()) ** 1.5
    acceleration = float((deviation**3).sum()) / (6 * scale) if scale > 0 else 0.0
    z = bias + norm.ppf([tail, 1 - tail])
    levels: NDArray[np.float64] = norm.cdf(bias + z / (1 - acceleration * z))
    return levels
