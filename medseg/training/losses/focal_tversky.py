"""The focal Tversky loss: structures that are found badly weigh more.

Abraham and Khan, ISBI 2019 (arxiv.org/abs/1810.07842).
"""

from __future__ import annotations

from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.tversky import Tversky

_LEAST = 1e-6
"""Errors below this count as none: a power below 1 has an infinite slope at 0, and rounding may go below 0."""


class FocalTversky(Tversky):
    """Mean of (1 - Tversky index)^(1 / gamma) over the structures.

    Args:
        labels: the plan's labels.
        batch_dice: one index over the batch, instead of one per sample.
        alpha: weight of false positives; 0.3 in the paper (which calls this one beta).
        beta: weight of false negatives; 0.7 in the paper.
        gamma: 4/3 in the paper; with 1 it is the Tversky loss.
    """

    def __init__(
        self, labels: Labels, batch_dice: bool, alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3
    ) -> None:
        super().__init__(labels, batch_dice, alpha, beta)
        if gamma <= 0:
            raise ValueError(f"gamma is {gamma}; expected more than 0")
        self.gamma = gamma

    def ratio(self, overlap: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
        """Return 1 - (1 - Tversky index)^(1 / gamma) of each structure, of which the loss is the negative mean.

        Args:
            overlap: (..., structures) sum of the probability inside the reference.
            prediction: (..., structures) sum of the probability.
            reference: (..., structures) voxels of the reference.
        """
        error = 1 - super().ratio(overlap, prediction, reference)
        return 1 - (error.clamp(min=_LEAST) ** (1 / self.gamma) - _LEAST ** (1 / self.gamma))
