"""clDice, for thin structures such as vessels: how much of each skeleton lies inside the other side's mask.

Shit et al., CVPR 2021 (arxiv.org/abs/2003.07311); morphology and formula are those of the authors' code
(github.com/jocpae/clDice) and of MONAI's `SoftclDiceLoss`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medseg.core.labels import Labels
from medseg.training.losses.neighbours import NeighbourLoss

_SMOOTH = 1.0  # as in the authors' code: voxels of skeleton; an absent structure that is not predicted has a loss of 0


class ClDice(NeighbourLoss):
    """1 minus the harmonic mean of topological precision and sensitivity.

    It says little of how thick a structure is, so it is meant to stand beside an overlap loss: in the paper, in equal
    parts beside Dice.

    Args:
        labels: the plan's labels.
        batch_dice: not used.
        iterations: how often a mask is eroded to find its skeleton; at least the radius of the thickest part, in
            voxels. The memory needed grows with it.
    """

    def __init__(self, labels: Labels, batch_dice: bool, iterations: int = 3) -> None:
        super().__init__(labels, batch_dice)
        if not isinstance(iterations, int) or iterations < 0:
            raise ValueError(f"iterations is {iterations!r}; expected a whole number from 0 on")
        self.iterations = iterations

    def compare(self, probability: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        """Return 1 - clDice of each structure in each sample, (batch, structures).

        Args:
            probability: (batch, structures, ...).
            mask: (batch, structures, ...).
            counted: not used: what is ignored is 0 in both maps.
        """
        axes = tuple(range(2, mask.ndim))
        predicted, reference = soft_skeleton(probability, self.iterations), soft_skeleton(mask, self.iterations)
        precision = ((predicted * mask).sum(axes) + _SMOOTH) / (predicted.sum(axes) + _SMOOTH)
        sensitivity = ((reference * probability).sum(axes) + _SMOOTH) / (reference.sum(axes) + _SMOOTH)
        return 1 - 2 * precision * sensitivity / (precision + sensitivity)


def soft_skeleton(maps: Tensor, iterations: int) -> Tensor:
    """Return the soft skeleton of maps with values from 0 to 1: what an opening removes at each level of erosion.

    Args:
        maps: (batch, structures, ...) with two or three axes of voxels.
        iterations: number of erosions.

    >>> bar = torch.zeros(1, 1, 5, 7)
    >>> bar[..., 1:4, 1:6] = 1
    >>> soft_skeleton(bar, 2)[0, 0].int().tolist()[2]
    [0, 0, 1, 1, 1, 0, 0]
    """
    skeleton = functional.relu(maps - dilate(erode(maps)))
    for _ in range(iterations):
        maps = erode(maps)
        ends = functional.relu(maps - dilate(erode(maps)))
        skeleton = skeleton + functional.relu(ends - skeleton * ends)  # the union of two soft sets
    return skeleton


def erode(maps: Tensor) -> Tensor:
    """Return the smallest value among each voxel and its neighbours along each axis; borders do not erode."""
    pool = functional.max_pool2d if maps.ndim == 4 else functional.max_pool3d
    eroded = maps
    for axis in range(maps.ndim - 2):
        size = [3 if axis == other else 1 for other in range(maps.ndim - 2)]
        along_axis = -pool(-maps, size, stride=1, padding=[length // 2 for length in size])
        eroded = torch.minimum(eroded, along_axis) if axis else along_axis
    return eroded


def dilate(maps: Tensor) -> Tensor:
    """Return the largest value among each voxel and all its neighbours, diagonal ones too."""
    pool = functional.max_pool2d if maps.ndim == 4 else functional.max_pool3d
    return pool(maps, 3, stride=1, padding=1)
