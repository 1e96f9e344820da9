"""Choose evenly spread voxels of an array."""

from __future__ import annotations

from math import gcd


def step_between(size: int, sampled: int) -> int:
    """Return the step between voxels of which about as many are to be sampled.

    It has no divisor in common with the number of voxels, so that they do not all lie in the same columns or slices.

    Args:
        size: number of voxels.
        sampled: about how many are wanted.
    """
    step = max(1, size // sampled)
    while gcd(step, size) > 1 and step > 1:
        step += 1
    return step
