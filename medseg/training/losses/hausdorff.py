"""The Hausdorff loss: false voxels cost a power of their distances to both boundaries, of reference and prediction.

Karimi and Salcudean, IEEE TMI 2019 (arxiv.org/abs/1904.10030), their loss by distance transforms; MONAI's
`HausdorffDTLoss`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.boundary import signed_distance
from medseg.training.losses.neighbours import NeighbourLoss


class Hausdorff(NeighbourLoss):
    """Mean over voxels of (probability - reference)^2 times the sum of both distances to the power of `alpha`.

    The distances, in voxels, are those to the boundary of the reference and to that of the prediction (probability
    above 1/2). A mask without a boundary has the distance 1 everywhere, so that a false positive of an absent structure
    costs. Far false voxels count hundreds of times as much as near ones: the paper adds the loss to an overlap loss,
    with a weight that keeps both alike; `{sum: [dice_ce, {name: hausdorff, weight: [0, 0.01]}]}` lets it rise.
    Distances are computed on the CPU, in each step.

    Args:
        labels: the plan's labels.
        batch_dice: not used.
        alpha: power of the distances; the paper's experiments favour 1 to 3.
    """

    def __init__(self, labels: Labels, batch_dice: bool, alpha: float = 2.0) -> None:
        super().__init__(labels, batch_dice)
        if not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
            raise ValueError(f"alpha is {alpha!r}; expected a number above 0")
        self.alpha = alpha

    def compare(self, probability: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        """Return the mean over the voxels that count, for each structure in each sample, (batch, structures).

        Args:
            probability: (batch, structures, ...).
            mask: (batch, structures, ...).
            counted: (batch, 1, ...), 0 where voxels are ignored.
        """
        axes = tuple(range(2, mask.ndim))
        ignored = counted == 0
        distance = _powers(mask > 0, ignored, self.alpha) + _powers(probability.detach() > 0.5, ignored, self.alpha)
        wrong = (probability - mask).square() * distance.to(probability) * counted
        return wrong.sum(axes) / counted.sum(axes).clamp(min=1)


def _powers(inside: Tensor, ignored: Tensor, alpha: float) -> Tensor:
    """Return the distance of each voxel to the boundary of its mask, to the power of `alpha`, float32 on the CPU.

    Args:
        inside: (batch, structures, ...) bool.
        ignored: (batch, 1, ...) bool.
        alpha: the power.
    """
    samples = zip(inside.cpu().numpy(), ignored.cpu().numpy(), strict=True)
    distances = [[signed_distance(structure, nowhere[0]) for structure in masks] for masks, nowhere in samples]
    return torch.from_numpy(np.abs(np.stack([np.stack(masks) for masks in distances])) ** alpha)
