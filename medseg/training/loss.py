"""Dice + cross-entropy, over one or several resolutions. Formulas of nnU-Net v2 (`dice.py`, `compound_losses.py`).

The logits are read once; targets stay integer label maps, so nothing grows with a one-hot encoding.

In a partly labelled sample "background" means the background or any structure that was not annotated in it: with
softmax these outputs are merged before the cross-entropy (marginal loss, Shi et al. 2021,
doi.org/10.1016/j.media.2021.101979), with sigmoid their outputs have none. Dice is of annotated structures only.
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

    def __call__(
        self, outputs: Sequence[torch.Tensor], target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Loss of logits (batch, outputs, ...) per scale against label indices (batch, ...).

        Weights halve from one resolution to the next and sum to one; targets are thinned by nearest neighbour.

        Args:
            annotated: (batch, structures) bool, which structures were annotated in each sample; None for all.
        """
        weights = [0.5**level for level in range(len(self.scales))]
        terms = [
            weight / sum(weights) * self._single(logits.float(), _thin(target, scale), annotated)
            for weight, logits, scale in zip(weights, outputs, self.scales, strict=True)
        ]
        return torch.stack(terms).sum()

    def _single(self, logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None) -> torch.Tensor:
        if self.labels.activation == "softmax":
            cross_entropy, dice = softmax_terms(logits, target, self.batch_dice, annotated)
        else:
            membership = self._membership(target.device)
            cross_entropy, dice = sigmoid_terms(logits, target, membership, self.batch_dice, annotated)
        return self.cross_entropy_weight * cross_entropy - self.dice_weight * dice

    def _membership(self, device: torch.device) -> torch.Tensor:
        return torch.from_numpy(self.labels.membership).to(device)


def softmax_terms(
    logits: torch.Tensor, target: torch.Tensor, batch_dice: bool, annotated: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean cross-entropy, mean soft Dice of the foreground classes); voxels of `IGNORE` count in neither."""
    valid = target != IGNORE
    index = target.clamp(min=0).long()
    log_probability = functional.log_softmax(logits, dim=1)
    if annotated is not None:
        log_probability, index = _merge(log_probability, index, annotated)
    chosen = log_probability.gather(1, index[:, None])[:, 0]
    cross_entropy = -(chosen * valid).sum() / valid.sum().clamp(min=1)
    outputs = logits.shape[1]
    probability = (log_probability.exp() * valid[:, None]).flatten(2)
    flat, seen = index.flatten(1), valid.flatten(1).to(probability)
    empty = probability.new_zeros(len(probability), outputs)
    overlap = empty.scatter_add(1, flat, chosen.exp().flatten(1) * seen)
    reference = empty.scatter_add(1, flat, seen)
    sums = (overlap[:, 1:], probability.sum(2)[:, 1:], reference[:, 1:])
    return cross_entropy, _mean_dice(sums, batch_dice, annotated)


def _merge(
    log_probability: torch.Tensor, index: torch.Tensor, annotated: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Background and what was not annotated as one class, the first, in the probabilities and in the reference."""
    named = functional.pad(annotated, (1, 0), value=False)  # (batch, outputs); the background is first
    other = log_probability.masked_fill(_over_voxels(named, log_probability), -torch.inf)
    merged = torch.cat([other.logsumexp(1, keepdim=True), log_probability[:, 1:]], dim=1)
    return merged, index * named.gather(1, index.flatten(1)).view_as(index)


def sigmoid_terms(
    logits: torch.Tensor,
    target: torch.Tensor,
    membership: torch.Tensor,
    batch_dice: bool,
    annotated: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean binary cross-entropy, mean soft Dice of all regions); `membership` is (regions, label indices)."""
    valid = (target != IGNORE)[:, None].expand_as(logits)
    if annotated is not None:
        valid = valid & _over_voxels(annotated, logits)
    wanted = membership[:, target.clamp(min=0).long()].movedim(0, 1).to(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    cross_entropy = (entropy * valid).sum() / valid.sum().clamp(min=1)
    probability = (logits.sigmoid() * valid).flatten(2)
    reference = (wanted * valid).flatten(2)
    sums = ((probability * reference).sum(2), probability.sum(2), reference.sum(2))
    return cross_entropy, _mean_dice(sums, batch_dice, annotated)


def _mean_dice(
    sums: tuple[torch.Tensor, torch.Tensor, torch.Tensor], batch_dice: bool, annotated: torch.Tensor | None
) -> torch.Tensor:
    """Mean soft Dice of structures where they were annotated.

    Args:
        sums: overlap, prediction and reference summed over voxels, each (batch, structures).
    """
    if annotated is not None:
        sums = (sums[0] * annotated, sums[1] * annotated, sums[2] * annotated)
    if batch_dice:
        sums = (sums[0].sum(0), sums[1].sum(0), sums[2].sum(0))
        annotated = None if annotated is None else annotated.any(0)
    overlap, prediction, reference = sums
    dice = (2 * overlap + _SMOOTH) / (prediction + reference + _SMOOTH).clamp(min=_SMALLEST)
    return dice.mean() if annotated is None else (dice * annotated).sum() / annotated.sum().clamp(min=1)


def _over_voxels(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(batch, classes) as (batch, classes, 1, ...)."""
    return mask.reshape(*mask.shape, *([1] * (like.ndim - 2)))


def _thin(target: torch.Tensor, scale: Sequence[int]) -> torch.Tensor:
    """Nearest neighbour ("nearest-exact") on a grid that is coarser by whole factors: the middle of each cell."""
    return target[(slice(None), *(slice(factor // 2, None, factor) for factor in scale))]
