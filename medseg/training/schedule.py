"""The learning rate as a pure function of the step."""

from __future__ import annotations

from math import cos, pi

_WARM_UP = 0.1
_START = 1 / 25
_END = 1e-4


def learning_rate(step: int, steps: int, peak: float, schedule: str) -> float:
    """Learning rate of `step` (0-based) out of `steps`.

    poly: peak * (1 - progress)^0.9, nnU-Net's. one_cycle: up to the peak over the first tenth, down to almost
    nothing by the end, both along a cosine (Smith & Topin 2018, as in `torch.optim.lr_scheduler.OneCycleLR`).
    """
    progress = step / steps
    if schedule == "poly":
        return peak * (1 - progress) ** 0.9
    if progress < _WARM_UP:
        return _between(peak * _START, peak, progress / _WARM_UP)
    return _between(peak, peak * _END, (progress - _WARM_UP) / (1 - _WARM_UP))


def _between(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + cos(pi * fraction)) / 2
