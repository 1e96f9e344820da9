"""The base of losses that look at neighbouring voxels, such as skeletons and distances to a boundary."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.protocol import CLASS_WEIGHTS, EVERYTHING, one_hot

_SMALLEST = 1e-8  # the least that a sum of weights is divided by: where nothing counts, all is 0


class NeighbourLoss(ABC):
    """A loss that compares the probability map of each structure with its mask, voxel beside voxel.

    Ignored voxels stay in the maps, so that the others keep their neighbours, with a probability and a mask of 0: what
    the network says there changes nothing. The background of softmax labels has no map of its own. Structures that were
    not annotated in a sample are left out of the mean.

    Args:
        labels: the plan's labels.
        batch_dice: not used: skeletons and distances are those of single samples.
    """

    supports: frozenset[str] = EVERYTHING | {CLASS_WEIGHTS}
    class_weights: Tensor | None = None
    """As in `SummedLoss`: the mean over structures is weighted by it."""

    def __init__(self, labels: Labels, batch_dice: bool) -> None:
        self.labels = labels

    @abstractmethod
    def compare(self, probability: Tensor, mask: Tensor, counted: Tensor) -> Tensor:
        """Return the loss of each structure in each sample, (batch, structures).

        Args:
            probability: (batch, structures, ...) float32, 0 where voxels are ignored.
            mask: the same shape, 1 inside the structure and 0 elsewhere and where voxels are ignored.
            counted: (batch, 1, ...) float32, 0 where voxels are ignored and 1 elsewhere.
        """

    def __call__(self, logits: Tensor, target: Tensor, annotated: Tensor | None, weights: Tensor | None) -> Tensor:
        """Return the mean over samples and over the structures that were annotated in them.

        Args:
            logits: (batch, outputs, ...).
            target: (batch, ...) label indices, 0 where voxels are ignored.
            annotated: (batch, structures) bool; None where all structures were annotated.
            weights: (batch, ...) 1 where a voxel counts and 0 where it does not; None for everywhere.
        """
        logits = logits.float()
        softmax = self.labels.activation == "softmax"
        probability = logits.softmax(1)[:, 1:] if softmax else logits.sigmoid()
        mask = one_hot(target, self.labels)[:, 1 if softmax else 0 :]
        counted = torch.ones_like(mask[:, :1]) if weights is None else (weights > 0).float()[:, None]
        values = self.compare(probability * counted, mask * counted, counted)
        known = torch.ones_like(values) if annotated is None else annotated.to(values)
        if self.class_weights is not None:
            known = known * self.class_weights[-values.shape[1] :].to(values)  # without the background's
        return (values * known).sum() / known.sum().clamp(min=_SMALLEST)
