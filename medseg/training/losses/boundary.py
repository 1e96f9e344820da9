"""The boundary loss: false voxels cost their distance to the boundary of the structure.

Kervadec et al., MIDL 2019 (proceedings.mlr.press/v102/kervadec19a.html, arxiv.org/abs/1812.07032).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medseg.training.losses.neighbours import NeighbourLoss


class Boundary(NeighbourLoss):
    """Mean over voxels of |probability - reference| times the distance to the boundary, in voxels.

    The paper's loss is the mean of probability times signed distance (negative inside). This one is larger by a
    constant of the reference, so it has the same gradient and is 0 for a perfect answer. Where a structure is absent
    there is no boundary, and the paper's code lets false positives cost nothing; here they cost a distance of 1.

    The gradient of a whole wrong structure is large and that of an empty answer small, so the paper adds it to an
    overlap loss, with a weight that rises in the course of the training, as in `{sum: [dice_ce, {name: boundary,
    weight: [0, 0.5]}]}`. Distances are computed on the CPU, in each step.

    Args:
        labels: the plan's labels.
        batch_dice: not used.
    """

    def compare(self, probability: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        """Return the mean distance of false voxels for each structure in each sample, (batch, structures).

        Args:
            probability: (batch, structures, ...).
            mask: (batch, structures, ...).
            counted: (batch, 1, ...), 0 where voxels are ignored.
        """
        inside, ignored = mask.cpu().numpy() > 0, counted.cpu().numpy() == 0
        distances = np.stack(
            [
                [signed_distance(structure, sample_ignored[0]) for structure in sample]
                for sample, sample_ignored in zip(inside, ignored, strict=True)
            ]
        )
        axes = tuple(range(2, mask.ndim))
        signed = torch.from_numpy(distances).to(probability)
        return ((probability - mask) * signed * counted).sum(axes) / counted.sum(axes).clamp(min=1)


def signed_distance(inside: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance to the nearest voxel on the other side, in voxels, negative inside the structure.

    Ignored voxels are on neither side. Without voxels on the other side the distance is 1 everywhere.

    Args:
        inside: (y, x) or (z, y, x), whether a voxel belongs to the structure.
        ignored: the same shape, whether a voxel is not annotated.

    >>> signed_distance(np.array([[0, 0, 1, 1]], bool), np.zeros((1, 4), bool)).tolist()
    [[2.0, 1.0, -1.0, -2.0]]
    """
    outside = ~inside & ~ignored
    to_inside = distance_transform_edt(~inside) if inside.any() else np.ones(inside.shape)
    to_outside = distance_transform_edt(~outside) if outside.any() else np.ones(inside.shape)
    return np.where(inside, -to_outside, to_inside).astype(np.float32)
