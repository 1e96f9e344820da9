"""Generalized Dice: one Dice over all structures, in which small ones weigh as much as large ones.

Sudre et al., DLMIA 2017 (arxiv.org/abs/1707.03237); numbers as MONAI's `GeneralizedDiceLoss` has them, but for two
cases. Where no structure is present, MONAI's loss is 0 whatever is predicted; here a false positive costs. And weights
are divided by the largest, which changes nothing in the ratio, but keeps the smoothing small beside it: with a
structure of 100,000 voxels MONAI's weights are 1e-10.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.protocol import OneHotLoss

_SMOOTH = 1e-5  # as in MONAI and nnU-Net: a structure that is absent and not predicted either has a loss of 0


class GeneralizedDice(OneHotLoss):
    """1 minus the ratio of the weighted overlaps to the weighted sums.

    Args:
        labels: the plan's labels.
        batch_dice: compare all samples of a batch as one.
        w_type: weight of a structure of v voxels: `square` 1/v^2 as in the paper, `simple` 1/v, or `uniform`. A
            structure that is absent has the largest weight of the others, or 1.
        include_background: whether the background of softmax labels is one of the structures.
    """

    def __init__(
        self,
        labels: Labels,
        batch_dice: bool,
        w_type: Literal["square", "simple", "uniform"] = "square",
        include_background: bool = False,
    ) -> None:
        super().__init__(labels, batch_dice)
        powers = {"square": 2, "simple": 1, "uniform": 0}
        if w_type not in powers:
            raise ValueError(f"w_type is {w_type!r}; expected {', '.join(powers)}")
        self.power = powers[w_type]
        self.first = 1 if labels.activation == "softmax" and not include_background else 0

    def compare(self, logits: Tensor, expected: Tensor) -> Tensor:
        """Return the mean over samples, or the loss of all samples as one.

        Args:
            logits: (samples, outputs, ...).
            expected: the same shape, 1 where a voxel belongs to an output.
        """
        probability = logits.softmax(1) if self.labels.activation == "softmax" else logits.sigmoid()
        maps = (probability[:, self.first :].flatten(2), expected[:, self.first :].flatten(2))
        overlap, prediction, reference = (maps[0] * maps[1]).sum(2), maps[0].sum(2), maps[1].sum(2)
        if self.batch_dice:
            overlap, prediction, reference = (sums.sum(0, keepdim=True) for sums in (overlap, prediction, reference))
        # 1/v^power over the largest of them is (smallest v / v)^power
        present = reference > 0
        smallest = reference.masked_fill(~present, torch.inf).amin(1, keepdim=True)
        weights = torch.where(present, smallest / reference.clamp(min=1), 1.0) ** self.power
        ratio = (2 * (weights * overlap).sum(1) + _SMOOTH) / ((weights * (prediction + reference)).sum(1) + _SMOOTH)
        return (1 - ratio).mean()
