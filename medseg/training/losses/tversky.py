"""The Tversky loss: an overlap in which false positives and false negatives have weights of their own.

Salehi, Erdogmus and Gholipour, MLMI 2017 (arxiv.org/abs/1706.05721). alpha = beta = 0.5 is soft Dice; a larger beta
finds more of a small structure, at the price of more false positives.
"""

from __future__ import annotations

from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.dice_ce import OverlapLoss

_SMOOTH = 1e-5  # as in the Dice of nnU-Net: an absent structure that is not predicted either has a ratio of 1


class Tversky(OverlapLoss):
    """Minus the mean Tversky index of the structures, with cross-entropy beside it where it has a weight.

    Args:
        labels: the plan's labels.
        batch_dice: one index over the batch, instead of one per sample.
        alpha: weight of false positives; 0.3 is the paper's best.
        beta: weight of false negatives; 0.7 is the paper's best.
        cross_entropy_weight: the weight of the cross-entropy that is added.
    """

    def __init__(
        self,
        labels: Labels,
        batch_dice: bool,
        alpha: float = 0.3,
        beta: float = 0.7,
        cross_entropy_weight: float = 0.0,
    ) -> None:
        super().__init__(labels, batch_dice, 1.0, cross_entropy_weight)
        if alpha + beta <= 0:
            raise ValueError(f"alpha is {alpha} and beta {beta}: no error would cost anything; expected one above 0")
        self.alpha = alpha
        self.beta = beta

    def ratio(self, overlap: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
        """Return the Tversky index TP / (TP + alpha FP + beta FN) of each structure.

        Args:
            overlap: (..., structures) sum of the probability inside the reference.
            prediction: (..., structures) sum of the probability.
            reference: (..., structures) voxels of the reference.
        """
        errors = self.alpha * (prediction - overlap) + self.beta * (reference - overlap)
        return (overlap + _SMOOTH) / (overlap + errors + _SMOOTH)
