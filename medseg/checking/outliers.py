"""Which cases of a set stand alone: far from the bulk of the others, and without company of their own.

A second scanner or protocol in the set is company, so that its cases are not reported, however far they are from the
median. What has no bulk, because it differs from case to case, reports nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

FEWEST = 6
"""Of fewer cases none is called odd."""

Distances = Callable[[slice], NDArray[np.float64]]
"""Distances (rows, n) of some of the n cases from all."""

_COMPANY, _FEWEST_COMPANY = 0.03, 2
_BULK, _FEWEST_BULK = 0.2, 4
_CLOSE = 1 / 3
_MAD_TO_STD = 1.4826
_ROWS = 256


def company_needed(count: int) -> int:
    """How many similar cases make a case a normal one, among `count`."""
    return max(_FEWEST_COMPANY, round(_COMPANY * count))


def deviation(values: NDArray[np.float64]) -> float:
    """Robust standard deviation: 1.4826 times the median distance to the median."""
    return float(_MAD_TO_STD * np.median(np.abs(values - np.median(values))))


def tolerance(values: NDArray[np.float64], least: float, most: float = np.inf, deviations: float = 6.0) -> float:
    """So many robust standard deviations, within limits."""
    return float(np.clip(deviations * deviation(values), least, most)) if values.size else least


def stand_alone(values: NDArray[np.float64], within: float) -> NDArray[np.bool_]:
    """(n,) values: whether each stands alone, see `alone`, at either end and not between two groups."""
    few = company_needed(len(values))
    if len(values) < FEWEST:
        return np.zeros(len(values), bool)
    ordered = np.sort(values)
    at_an_end = (values < ordered[few]) | (values > ordered[-few - 1])
    return at_an_end & alone(lambda rows: np.abs(values[rows, np.newaxis] - values), len(values), within)


def shifted_alone(quantiles: NDArray[np.float64], within: float) -> NDArray[np.bool_]:
    """(n, quantiles) intensities: whether each stands alone in that it is shifted as a whole.

    The shift between two cases is that of the quantile that moves least, in units of the smaller of their spreads:
    more air in the picture moves some quantiles, a wrong offset all of them.
    """
    spread = quantiles[:, -1] - quantiles[:, 0]

    def distances(rows: slice) -> NDArray[np.float64]:
        least = np.full((len(spread[rows]), len(spread)), np.inf)
        for column in quantiles.T:
            np.minimum(least, np.abs(column[rows, np.newaxis] - column), out=least)
        unit = np.minimum(spread[rows, np.newaxis], spread)
        return np.divide(least, unit, out=np.where(least > 0, np.inf, 0), where=unit > 0)

    return alone(distances, len(spread), within)


def alone(distances: Distances, count: int, within: float) -> NDArray[np.bool_]:
    """(n,) whether each of `count` cases is farther than `within` from the bulk, and few others are close to it.

    Close is a third of `within`; the bulk are the cases that a fifth of all are close to.
    """
    close = np.zeros(count, int)
    if count < FEWEST:
        return close.astype(bool)
    for rows in _blocks(count):
        close[rows] = (distances(rows) <= within * _CLOSE).sum(axis=1) - 1
    bulk = close + 1 >= max(_FEWEST_BULK, _BULK * count)
    far = np.zeros(count, bool)
    if bulk.any():
        for rows in _blocks(count):
            far[rows] = ~(distances(rows)[:, bulk] <= within).any(axis=1)
    return far & (close < company_needed(count))


def usual(values: NDArray[np.float64], odd: NDArray[np.bool_]) -> tuple[float, float]:
    """From where to where nine in ten of the values lie that are not odd."""
    low, high = np.quantile(values[~odd], (0.05, 0.95), method="nearest")
    return float(low), float(high)


def _blocks(count: int) -> Iterator[slice]:
    """Rows at a time, so that no matrix of all pairs is held."""
    for start in range(0, count, _ROWS):
        yield slice(start, start + _ROWS)
