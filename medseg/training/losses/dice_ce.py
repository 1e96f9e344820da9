"""Dice + cross-entropy, medseg's default loss; formulas of nnU-Net v2 (`dice.py`, `compound_losses.py`).

Everything is made of sums over voxels (`voxel_sums`), which read the logits once. Where several processes share a
batch these sums are added up before the formulas, so that every process has the loss of the whole batch.

In a partly labelled sample "background" means the background or any structure that was not annotated in it: with
softmax these outputs are merged before the cross-entropy (marginal loss, Shi et al. 2021,
doi.org/10.1016/j.media.2021.101979), with sigmoid their outputs have none. Overlaps are of annotated structures only.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.losses.protocol import CLASS_WEIGHTS, EVERYTHING, VOXEL_WEIGHTS, SummedLoss
from medseg.training.losses.voxel_sums import sigmoid_sums, softmax_sums

_SMOOTH = 1e-5  # nnU-Net's: an absent structure that is not predicted either has a ratio of 1
_SMALLEST = 1e-8  # nnU-Net's: the least that is divided by


class OverlapLoss(SummedLoss):
    """Weighted cross-entropy minus a weighted mean of overlaps, one per structure; softmax labels or regions.

    A subclass says in `ratio` what an overlap is. The background has cross-entropy and no overlap. Weights of classes
    weigh the cross-entropy of their voxels (divided by the sum of the weights, as torch does it) and the mean overlap.

    Args:
        labels: decides between softmax and sigmoid, and what makes up a region.
        batch_dice: sum over the batch before the ratio, instead of a ratio per sample.
        overlap_weight: the weight of the mean overlap, which is subtracted.
        cross_entropy_weight: the weight of the mean cross-entropy of a voxel (binary for regions, then also mean over
            regions).

    Raises:
        ValueError: both weights are 0.
    """

    supports = EVERYTHING | {CLASS_WEIGHTS, VOXEL_WEIGHTS}

    def __init__(self, labels: Labels, batch_dice: bool, overlap_weight: float, cross_entropy_weight: float) -> None:
        if overlap_weight == cross_entropy_weight == 0:
            raise ValueError("both weights are 0, so that nothing can be learnt; one has to be above 0")
        self.labels = labels
        self.batch_dice = batch_dice
        self.overlap_weight = overlap_weight
        self.cross_entropy_weight = cross_entropy_weight
        self._membership: dict[torch.device, Tensor] = {}
        self._weights: dict[torch.device, Tensor] = {}

    @abstractmethod
    def ratio(self, overlap: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
        """Return the overlap of each structure, 1 for a perfect answer.

        Args:
            overlap: (..., structures) sum of the probability inside the reference.
            prediction: (..., structures) sum of the probability.
            reference: (..., structures) voxels of the reference.
        """

    def sums(self, logits: Tensor, target: Tensor, annotated: Tensor | None, weights: Tensor | None = None) -> Tensor:
        """Return [cross-entropy, voxels, and then the overlaps or what they are made of] as one vector.

        Args:
            logits: (batch, outputs, ...).
            target: (batch, ...) label indices, or `IGNORE`.
            annotated: (batch, structures) bool; None where all structures were annotated.
            weights: (batch, ...) how often each voxel counts, in the overlaps too; None for once.
        """
        softmax = self.labels.activation == "softmax"
        if softmax:
            sums = softmax_sums(logits, target, annotated, self._weights_on(logits.device), weights)
        else:
            sums = sigmoid_sums(logits, target, self._membership_on(target.device), weights)
        first = 1 if softmax else 0  # the background has no overlap
        areas = [area[:, first:] for area in (sums.overlap, sums.prediction, sums.reference)]
        known = torch.ones_like(areas[2]) if annotated is None else annotated.to(areas[2])
        entropy, voxels = sums.entropy, sums.voxels
        importance = known * self._structure_weights(known)
        if not softmax:
            entropy, voxels = entropy * importance, voxels * importance
        overlap, prediction, reference = (area * known for area in areas)
        if self.batch_dice:
            parts = [part.sum(0) for part in (overlap, prediction, reference, known)]
        else:
            parts = [(self.ratio(overlap, prediction, reference) * importance).sum()[None], importance.sum()[None]]
        return torch.cat([entropy.sum()[None], voxels.sum()[None], *parts])

    def values(self, sums: Tensor) -> Tensor:
        """Return the loss of each resolution from (resolutions, entries) of `sums`."""
        # where nothing counts, both sums are 0
        cross_entropy = sums[:, 0] / sums[:, 1].clamp(min=_SMALLEST)
        if self.batch_dice:
            overlap, prediction, reference, known = sums[:, 2:].unflatten(1, (4, -1)).unbind(1)
            importance = (known > 0).to(known) * self._structure_weights(known)
            mean = (self.ratio(overlap, prediction, reference) * importance).sum(1)
            mean = mean / importance.sum(1).clamp(min=_SMALLEST)
        else:
            mean = sums[:, 2] / sums[:, 3].clamp(min=_SMALLEST)
        return self.cross_entropy_weight * cross_entropy - self.overlap_weight * mean

    def _membership_on(self, device: torch.device) -> Tensor:
        """Return which label indices make up each region; copied once, as a copy in every step would wait for it."""
        if device not in self._membership:
            self._membership[device] = torch.from_numpy(self.labels.membership).to(device)
        return self._membership[device]

    def _weights_on(self, device: torch.device) -> Tensor | None:
        """Return the weights of the outputs; copied once, as above."""
        if self.class_weights is None:
            return None
        if device not in self._weights:
            self._weights[device] = self.class_weights.to(device)
        return self._weights[device]

    def _structure_weights(self, like: Tensor) -> Tensor:
        """Return (structures,) the weight of each, without the background's."""
        weights = self._weights_on(like.device)
        return like.new_ones(()) if weights is None else weights[-like.shape[-1] :].to(like)


class DiceCE(OverlapLoss):
    """Soft Dice + cross-entropy.

    Args:
        labels: the plan's labels.
        batch_dice: one Dice over the batch, instead of one per sample.
        dice_weight: weight of Dice; the plan's `training.dice_weight` unless `training.loss` names another.
        cross_entropy_weight: the weight of the cross-entropy, which is added.
    """

    def __init__(self, labels: Labels, batch_dice: bool, dice_weight: float, cross_entropy_weight: float) -> None:
        super().__init__(labels, batch_dice, dice_weight, cross_entropy_weight)

    def ratio(self, overlap: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
        """Return soft Dice of each structure.

        Args:
            overlap: (..., structures) sum of the probability inside the reference.
            prediction: (..., structures) sum of the probability.
            reference: (..., structures) voxels of the reference.
        """
        return (2 * overlap + _SMOOTH) / (prediction + reference + _SMOOTH).clamp(min=_SMALLEST)
