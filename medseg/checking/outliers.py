"""Find the cases of a data set that stand alone: far from the bulk of the others, and with hardly any similar case.

The cases of a second scanner or protocol are similar to each other, so that they are not reported, however far they are
from the median. A quantity that differs from case to case has no bulk, and reports nothing.

The time grows with the number of cases, not with its square: single values are compared in sorted order, and sets of
values with 2,048 of the cases at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

FEWEST = 6
"""In smaller data sets no case is called odd."""

Distances = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]
"""Function that returns the distances (rows, columns) of some cases, by their numbers, from others."""

_COMPANY, _FEWEST_COMPANY = 0.03, 2
"""A case with at least this share of similar cases, or this many in small data sets, is a normal one."""
_BULK, _FEWEST_BULK = 0.2, 4
"""A case with at least this share of similar cases, or this many in small data sets, belongs to the bulk."""
_CLOSE = 1 / 3
"""Cases are similar if they are closer than this share of the distance at which one is far from the bulk."""
_MAD_TO_STD = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""
_ROWS = 256
"""Rows of the matrix of distances that are computed at once, so that it is never held as a whole."""
_MOST_COMPARED = 2048
"""Cases that each case is compared with; of more, so many that are evenly spread stand for all."""
_FIRST_LOOK = 64
"""Cases of the bulk that each case is compared with first."""


def company_needed(count: int) -> int:
    """Return how many similar cases a case needs to count as normal, in a data set of `count` cases."""
    return max(_FEWEST_COMPANY, round(_COMPANY * count))


def deviation(values: NDArray[np.float64]) -> float:
    """Return a robust standard deviation of values (n,): 1.4826 times the median distance from the median."""
    return float(_MAD_TO_STD * np.median(np.abs(values - np.median(values))))


def tolerance(values: NDArray[np.float64], least: float, most: float = np.inf, deviations: float = 6.0) -> float:
    """Return the distance from which on a case is far from the others.

    Args:
        values: (n,) the values of all cases.
        least: smallest distance to return.
        most: largest distance to return.
        deviations: distance in robust standard deviations, within these limits.
    """
    return float(np.clip(deviations * deviation(values), least, most)) if values.size else least


def stand_alone(values: NDArray[np.float64], within: float) -> NDArray[np.bool_]:
    """Return which values are isolated at the low or the high end of all values; those between two groups do not count.

    Args:
        values: (n,) the values of all cases.
        within: distance from which on a case is far from the bulk, see `alone`.

    Returns:
        (n,) booleans.
    """
    count = len(values)
    few = company_needed(count)
    if count < FEWEST:
        return np.zeros(count, bool)
    ordered = np.sort(values)
    at_an_end = (values < ordered[few]) | (values > ordered[-few - 1])
    near = within * _CLOSE
    close = np.searchsorted(ordered, values + near, "right") - np.searchsorted(ordered, values - near) - 1
    bulk = np.sort(values[_in_bulk(close, count)])
    far = np.zeros(count, bool)
    if bulk.size:
        far = np.searchsorted(bulk, values - within) == np.searchsorted(bulk, values + within, "right")
    return at_an_end & far & (close < few)


def shifted_alone(quantiles: NDArray[np.float64], within: float) -> NDArray[np.bool_]:
    """Return which cases have intensities that are shifted as a whole, as in hardly any other case.

    The shift between two cases is that of the quantile that moves least, in units of the smaller of their spreads: more
    air in the image moves some quantiles, a wrong offset moves all of them.

    Args:
        quantiles: (n, quantiles) increasing quantiles of each case.
        within: shift from which on a case is far from the bulk, see `alone`.

    Returns:
        (n,) booleans.
    """
    spread = quantiles[:, -1] - quantiles[:, 0]

    def distances(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        least = np.full((len(rows), len(columns)), np.inf)
        for quantile in quantiles.T:
            np.minimum(least, np.abs(quantile[rows, np.newaxis] - quantile[columns]), out=least)
        unit = np.minimum(spread[rows, np.newaxis], spread[columns])
        return np.divide(least, unit, out=np.where(least > 0, np.inf, 0), where=unit > 0)

    return alone(distances, len(spread), within)


def alone(distances: Distances, count: int, within: float) -> NDArray[np.bool_]:
    """Return whether each case is far from the bulk, with few others close to it.

    Close is a third of `within`; the bulk are the cases to which a fifth of all are close. In sets of more than 2,048
    cases so many of them stand for all where this is told; whether a case has company is looked up among all, unless
    more than 2,048 are far.

    Args:
        distances: distances of cases from each other.
        count: number of cases, n.
        within: distance from which on a case is far.

    Returns:
        (n,) booleans.
    """
    far = np.zeros(count, bool)
    if count < FEWEST:
        return far
    compared = (
        np.arange(count) if count <= _MOST_COMPARED else np.linspace(0, count - 1, _MOST_COMPARED).astype(np.intp)
    )
    close = [(distances(rows, compared) <= within * _CLOSE).sum(axis=1) - 1 for rows in _blocks(compared)]
    bulk = compared[_in_bulk(np.concatenate(close), len(compared))]
    if not bulk.size:
        return far
    far[:] = True
    for some in (bulk[:_FIRST_LOOK], bulk):  # nearly every case is near one of a few
        for rows in _blocks(np.flatnonzero(far)):
            far[rows] = ~(distances(rows, some) <= within).any(axis=1)
    others = np.arange(count) if far.sum() <= _MOST_COMPARED else compared
    for rows in _blocks(np.flatnonzero(far)):
        company = (distances(rows, others) <= within * _CLOSE).sum(axis=1) - np.isin(rows, others)
        far[rows] = company < company_needed(len(others))
    return far


def _in_bulk(close: NDArray[np.int_], count: int) -> NDArray[np.bool_]:
    """Return which cases are the bulk of `count` cases, from how many others are close to each."""
    return close + 1 >= max(_FEWEST_BULK, _BULK * count)


def usual(values: NDArray[np.float64], odd: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the range of the usual values: the middle nine tenths of those that are not odd.

    Args:
        values: (n,) the values of all cases.
        odd: (n,) which of them are odd.

    Returns:
        The 5 % and the 95 % quantile.
    """
    low, high = np.quantile(values[~odd], (0.05, 0.95), method="nearest")
    return float(low), float(high)


def _blocks(numbers: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield at most `_ROWS` numbers of cases at a time, so that few distances are in memory."""
    for start in range(0, len(numbers), _ROWS):
        yield numbers[start : start + _ROWS]
