"""The learning rate of a step, as a pure function of how far along its schedule the step is."""

from __future__ import annotations

from math import cos, pi

_WARM_UP = 0.1
"""Share of the one-cycle schedule over which the rate rises."""
_START, _END = 1 / 25, 1e-4
"""First and last rate of the one-cycle schedule, as shares of the peak; the defaults of torch's OneCycleLR."""


def learning_rate(progress: float, peak: float, schedule: str) -> float:
    """Return the learning rate.

    Args:
        progress: how much of the schedule is done, 0 to 1.
        peak: the plan's `training.learning_rate`.
        schedule: `poly`: peak * (1 - progress)^0.9, nnU-Net's (`polylr.py`). `one_cycle`: up to the peak over the
            first tenth and down to almost nothing by the end, both along a cosine (Smith & Topin 2018, as in
            `torch.optim.lr_scheduler.OneCycleLR`).

    >>> round(learning_rate(0.5, 0.01, "poly"), 6)
    0.005359
    >>> [round(learning_rate(progress, 1.0, "one_cycle"), 4) for progress in (0.0, 0.1, 1.0)]
    [0.04, 1.0, 0.0001]
    """
    if schedule == "poly":
        return peak * (1 - progress) ** 0.9
    if progress < _WARM_UP:
        return _along_cosine(peak * _START, peak, progress / _WARM_UP)
    return _along_cosine(peak, peak * _END, (progress - _WARM_UP) / (1 - _WARM_UP))


def _along_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + cos(pi * fraction)) / 2
