"""Figures as text: those that are compared, down a column or along an axis, have as many digits as each other."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10

NOTHING = "–"
"""Stands where a figure is not defined."""
_SIGNIFICANT = 4
"""Digits that count of the largest figure of a column; one below 1 has one less."""
_LEAST = 3
"""Digits behind the point of figures below 10, as scores have them, and the most that a small figure beside a large one
adds."""


def figure(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Return a figure as text.

    Args:
        value: The figure; None, which becomes a dash, where it is not defined.
        digits: Digits behind the point.
        sign: Write a plus before positive figures.
    """
    return NOTHING if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Return an interval as text that is not broken into lines; a dash where there is none.

    Args:
        low: Its lower bound.
        high: Its upper bound.
        digits: Digits behind the point.
    """
    return NOTHING if low is None or high is None else f"[{low:.{digits}f},\u00a0{high:.{digits}f}]"


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """Return a figure and its interval, as far as they are defined.

    Args:
        value: The figure.
        low: Lower bound of its interval.
        high: Upper bound of its interval.
        digits: Digits behind the point.
    """
    if value is None or low is None or high is None:
        return figure(value, digits)
    return f"{figure(value, digits)} {interval(low, high, digits)}"


def digits_for(values: Iterable[float | None]) -> int:
    """Return how many digits behind the point all figures of a column have.

    The largest has four that count, or three below 1; the smallest is still seen with two, as far as three behind the
    point show it.

    >>> digits_for([0.85, 0.9]), digits_for([31.42, 10.8]), digits_for([1520.0, 930.0]), digits_for([0.0004])
    (3, 2, 0, 6)
    >>> digits_for([1520.0, 1.2]), digits_for([])
    (1, 3)
    """
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return _LEAST
    largest, smallest = (floor(log10(size)) for size in (max(sizes), min(sizes)))
    by_largest = max(_SIGNIFICANT - 1 - largest, 0) if largest >= 0 else max(_LEAST, 1 - largest + 1)
    return max(by_largest, min(1 - smallest, _LEAST))
