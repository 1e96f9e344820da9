"""A difference between a scan and the training scans of a model, and how far a value lies outside of theirs.

`predict`, `watch` and `Predictor` compare every scan with what a model knows, before anything is computed: its grid
(`scan_grid`, `scan_slices`), its values (`scan_intensities`) and its modality (`scan_modality`). A **warning** says
what differs, and the scan is segmented. A **refusal** is for scans whose answer cannot mean anything;
`inference.unlike_scans: warn` makes it a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

Bounds = tuple[float, float]
"""The smallest and the largest value of the training scans."""


@dataclass(frozen=True)
class ScanFinding:
    """A difference between a scan and the training scans of a model.

    Attributes:
        kind: `spacing`, `size`, `grid`, `memory`, `constant`, `label map`, `intensity`, `contrast` or
            `modality`.
        refused: whether the answer could not mean anything.
        message: what was seen and what was expected.
        hint: what to do about it.
    """

    kind: str
    refused: bool
    message: str
    hint: str


def times_outside(value: float, bounds: Bounds | None) -> float:
    """Return how many times larger than the upper bound a value is, or a share of the lower one; 1 within them.

    >>> times_outside(4.0, (1.0, 2.0)), times_outside(0.5, (1.0, 2.0)), times_outside(1.5, (1.0, 2.0))
    (2.0, 0.5, 1.0)
    """
    if bounds is None:
        return 1.0
    low, high = bounds
    if value > high:
        return value / high if high > 0 else inf
    return max(value, 1e-30) / low if value < low else 1.0


def span(bounds: Sequence[float]) -> str:
    """Return a range in words.

    >>> span((1.0, 2.5)), span((3.0, 3.0))
    ('1 to 2.5', '3')
    """
    low, high = (f"{value:.3g}" for value in bounds)
    return low if low == high else f"{low} to {high}"
