"""Top-k cross-entropy: only the voxels that are hardest at the moment count.

Wu et al. 2016 (arxiv.org/abs/1605.06885), as nnU-Net has it (`robust_ce_loss.py`, `TopKLoss`), but for each sample by
itself: the hardest voxels of a batch may all lie in one sample, and another process could not know.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from medseg.core.labels import Labels
from medseg.training.losses.protocol import CLASS_WEIGHTS, EVERYTHING, OneHotLoss


class TopK(OneHotLoss):
    """Mean cross-entropy of the hardest voxels of each sample.

    Categorical for softmax labels; for regions binary, in which each structure of a voxel is one candidate.

    Args:
        labels: the plan's labels.
        batch_dice: not used: the voxels are chosen sample by sample.
        percent: share of the voxels that count, in percent, 10 in nnU-Net; at least one voxel counts.
    """

    supports = EVERYTHING | {CLASS_WEIGHTS}

    def __init__(self, labels: Labels, batch_dice: bool, percent: float = 10.0) -> None:
        super().__init__(labels, batch_dice=False)
        if not 0 < percent <= 100:
            raise ValueError(f"percent is {percent}; expected more than 0 and at most 100")
        self.percent = percent

    def compare(self, logits: Tensor, expected: Tensor) -> Tensor:
        """Return the mean cross-entropy of the hardest voxels.

        Args:
            logits: (samples, outputs, ...).
            expected: the same shape, 1 where a voxel belongs to an output.
        """
        return self.weighted(logits, expected, logits.new_ones(logits.shape[1]))

    def weighted(self, logits: Tensor, expected: Tensor, output_weights: Tensor) -> Tensor:
        """Return the mean of the largest weighted cross-entropies.

        Args:
            logits: (samples, outputs, ...).
            expected: the same shape, 1 where a voxel belongs to an output.
            output_weights: (outputs,) what the cross-entropy is multiplied by.
        """
        if self.labels.activation == "softmax":
            entropy = -(expected * logits.log_softmax(1))
        else:
            entropy = functional.binary_cross_entropy_with_logits(logits, expected, reduction="none")
        entropy = entropy.flatten(2) * output_weights[:, None]
        entropy = entropy.sum(1) if self.labels.activation == "softmax" else entropy.flatten(1)
        count = max(1, int(entropy.shape[1] * self.percent / 100))
        return entropy.topk(count, sorted=False).values.mean()
