"""Dice + cross-entropy, over one or several resolutions. Formulas of nnU-Net v2 (`dice.py`, `compound_losses.py`).

The logits are read once; targets stay integer label maps, so nothing grows with a one-hot encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from medseg.labels import IGNORE, Labels

_SMOOTH = 1e-5
_SMALLEST = 1e-8


@dataclass(frozen=True)
class Loss:
    """Dice + cross-entropy (labels) or Dice + binary cross-entropy (regions), weighted over resolutions.

    Attributes:
        labels: decides between softmax and sigmoid, and what makes up a region.
        batch_dice: sum over the batch before the Dice ratio, instead of a ratio per sample.
        dice_weight, cross_entropy_weight: of the two terms.
        scales: per output, how much coarser than the target it is along each axis, the finest first.
    """

    labels: Labels
    batch_dice: bool
    dice_weight: float
    cross_entropy_weight: float
    scales: Sequence[Sequence[int]]

    def __call__(self, outputs: Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Loss of logits (batch, outputs, ...) per scale against label indices (batch, ...).

        Weights halve from one resolution to the next and sum to one; targets are thinned by nearest neighbour.
        """
        weights = [0.5**level for level in range(len(self.scales))]
        terms = [
            weight / sum(weights) * self._single(logits.float(), _thin(target, scale))
            for weight, logits, scale in zip(weights, outputs, self.scales, strict=True)
        ]
        return torch.stack(terms).sum()

    def _single(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.labels.activation == "softmax":
            cross_entropy, dice = softmax_terms(logits, target, self.batch_dice)
        else:
            cross_entropy, dice = sigmoid_terms(logits, target, self._membership(target.device), self.batch_dice)
        return self.cross_entropy_weight * cross_entropy - self.dice_weight * dice

    def _membership(self, device: torch.device) -> torch.Tensor:
        return torch.from_numpy(self.labels.membership).to(device)


def softmax_terms(logits: torch.Tensor, target: torch.Tensor, batch_dice: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean cross-entropy, mean soft Dice of the foreground classes); voxels of `IGNORE` count in neither."""
    valid = target != IGNORE
    index = target.clamp(min=0).long()
    log_probability = functional.log_softmax(logits, dim=1)
    chosen = log_probability.gather(1, index[:, None])[:, 0]
    cross_entropy = -(chosen * valid).sum() / valid.sum().clamp(min=1)
    outputs = logits.shape[1]
    probability = (log_probability.exp() * valid[:, None]).flatten(2)
    flat, seen = index.flatten(1), valid.flatten(1).to(probability)
    empty = probability.new_zeros(len(probability), outputs)
    overlap = empty.scatter_add(1, flat, chosen.exp().flatten(1) * seen)
    reference = empty.scatter_add(1, flat, seen)
    dice = _dice(overlap, probability.sum(2), reference, batch_dice)
    return cross_entropy, dice[..., 1:].mean()


def sigmoid_terms(
    logits: torch.Tensor, target: torch.Tensor, membership: torch.Tensor, batch_dice: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean binary cross-entropy, mean soft Dice of all regions); `membership` is (regions, label indices)."""
    valid = (target != IGNORE)[:, None]
    wanted = membership[:, target.clamp(min=0).long()].movedim(0, 1).to(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    cross_entropy = (entropy * valid).sum() / (valid.sum() * logits.shape[1]).clamp(min=1)
    probability = (logits.sigmoid() * valid).flatten(2)
    reference = (wanted * valid).flatten(2)
    dice = _dice((probability * reference).sum(2), probability.sum(2), reference.sum(2), batch_dice)
    return cross_entropy, dice.mean()


def _dice(overlap: torch.Tensor, prediction: torch.Tensor, reference: torch.Tensor, batch_dice: bool) -> torch.Tensor:
    """Soft Dice from sums over voxels, each (batch, classes)."""
    if batch_dice:
        overlap, prediction, reference = overlap.sum(0), prediction.sum(0), reference.sum(0)
    return (2 * overlap + _SMOOTH) / (prediction + reference + _SMOOTH).clamp(min=_SMALLEST)


def _thin(target: torch.Tensor, scale: Sequence[int]) -> torch.Tensor:
    """Nearest neighbour ("nearest-exact") on a grid that is coarser by whole factors: the middle of each cell."""
    return target[(slice(None), *(slice(factor // 2, None, factor) for factor in scale))]
