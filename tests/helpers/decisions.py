"""Where rounding cannot change which structure a voxel is decided to be."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import Labels

_ROUNDINGS = 16
"""A logit is interpolated along three axes, each with a few roundings of half a unit in its last place, and two of them
are compared."""


def clear(labels: Labels, logits: torch.Tensor) -> NDArray[np.bool_]:
    """Return where two programs that interpolate logits in float32 have to decide alike, whatever order they sum in.

    Args:
        labels: how logits become labels.
        logits: (outputs, z, y, x), interpolated, of the one program or the other.
    """
    logits = logits.double()
    if labels.activation == "softmax":  # the largest wins
        best = logits.topk(min(2, len(logits)), dim=0).values
        margin = best[0] - best[-1]
    else:  # those above zero win
        margin = logits.abs().amin(0)
    return (margin > _ROUNDINGS * np.finfo(np.float32).eps * float(logits.abs().max())).numpy()
