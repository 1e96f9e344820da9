"""By how much a network that was converted for another program differs from torch's."""

from __future__ import annotations

from torch import Tensor


def largest_difference(answer: Tensor, expected: Tensor) -> float:
    """Return the largest difference of logits, as a share of the largest expected one.

    Args:
        answer: of the converted network.
        expected: torch's, of the same shape.
    """
    return float((answer.float() - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
