"""Cross-entropy alone: categorical for labels that exclude each other, binary for regions."""

from __future__ import annotations

from torch import Tensor

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.training.losses.dice_ce import OverlapLoss


class CrossEntropy(OverlapLoss):
    """Mean cross-entropy of a voxel; for regions binary, and the mean over regions too.

    Args:
        labels: the plan's labels.
        batch_dice: not used: there is no ratio.
    """

    def __init__(self, labels: Labels, batch_dice: bool) -> None:
        super().__init__(labels, batch_dice, overlap_weight=0.0, cross_entropy_weight=1.0)

    def ratio(self, overlap: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
        """Return zeros: no overlap is part of this loss.

        Args:
            overlap: (..., structures).
            prediction: not used.
            reference: not used.
        """
        return overlap * 0


class BinaryCrossEntropy(CrossEntropy):
    """Binary cross-entropy, for labels with `activation: sigmoid` only.

    Args:
        labels: the plan's labels.
        batch_dice: not used.

    Raises:
        PlanError: the labels exclude each other.
    """

    def __init__(self, labels: Labels, batch_dice: bool) -> None:
        if labels.activation == "softmax":
            raise PlanError(
                "training.loss is 'bce', which is for labels.activation: sigmoid; these labels have softmax.",
                "Name the loss ce: with softmax it is categorical, with sigmoid binary. Or set "
                "labels.activation=sigmoid, where a voxel may belong to none or several structures.",
            )
        super().__init__(labels, batch_dice)
