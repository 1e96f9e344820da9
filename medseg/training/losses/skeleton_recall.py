"""Skeleton recall, for thin structures such as vessels: how much of the reference's skeleton was found.

Kirchhoff et al., ECCV 2024 (arxiv.org/abs/2404.03010). Only the reference has a skeleton, which takes no gradient: far
less memory than clDice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.cldice import dilate, erode
from medseg.training.losses.neighbours import NeighbourLoss


class SkeletonRecall(NeighbourLoss):
    """1 minus the share of the reference's skeleton, widened to a tube, that was found.

    A false positive outside of the tube costs nothing, so it is meant to stand beside an overlap loss: in the paper,
    with the weight 1 beside Dice and cross-entropy. Where a structure is absent there is no skeleton, and with the
    paper's code false positives cost nothing there, either; here they cost P / (P + 1), where P is the sum of the
    probability.

    The skeleton is the morphological one (Serra 1982: what an opening removes at each level of erosion), which has gaps
    that the tube closes; the paper's is that of scikit-image.

    Args:
        labels: the plan's labels.
        batch_dice: not used.
        iterations: how often the reference is eroded; of what is thicker than twice that, in voxels, the core is kept.
        radius: by how many voxels the skeleton is widened, within the structure.
    """

    def __init__(self, labels: Labels, batch_dice: bool, iterations: int = 10, radius: int = 2) -> None:
        super().__init__(labels, batch_dice)
        for name, value in (("iterations", iterations), ("radius", radius)):
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} is {value!r}; expected a whole number from 0 on")
        self.iterations, self.radius = iterations, radius

    def compare(self, probability: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        """Return 1 - recall of each structure in each sample, (batch, structures).

        Args:
            probability: (batch, structures, ...).
            mask: (batch, structures, ...).
            counted: not used: what is ignored is 0 in both maps.
        """
        axes = tuple(range(2, mask.ndim))
        tube = skeleton_tube(mask, self.iterations, self.radius)
        length, predicted = tube.sum(axes), probability.sum(axes)
        missed = 1 - (probability * tube).sum(axes) / length.clamp(min=1)
        return torch.where(length > 0, missed, predicted / (predicted + 1))


@torch.no_grad()
def skeleton_tube(masks: Tensor, iterations: int, radius: int) -> Tensor:
    """Return the skeleton of masks, widened within them.

    Args:
        masks: (batch, structures, ...) of 0 and 1, with two or three axes of voxels.
        iterations: number of erosions; what is then left belongs to the skeleton.
        radius: number of dilations.

    >>> bar = torch.zeros(1, 1, 5, 7)
    >>> bar[..., 1:4, 1:6] = 1
    >>> skeleton_tube(bar, 10, 0)[0, 0].int().tolist()[2]
    [0, 0, 1, 1, 1, 0, 0]
    """
    rest, skeleton = masks, torch.zeros_like(masks)
    for _ in range(iterations):
        eroded = erode(rest)
        skeleton = torch.maximum(skeleton, rest - torch.minimum(dilate(eroded), rest))
        rest = eroded
        if not rest.any():
            break
    tube = torch.maximum(skeleton, rest)
    for _ in range(radius):
        tube = dilate(tube) * masks
    return tube
