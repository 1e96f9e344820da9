"""Dice + cross-entropy, over one or several resolutions. Formulas of nnU-Net v2 (`dice.py`, `compound_losses.py`).

Everything is made of sums over voxels (`voxel_sums`), which read the logits once. Where several processes share a
batch these sums are added up before the formulas, so that every process has the loss of the whole batch.

In a partly labelled sample "background" means the background or any structure that was not annotated in it: with
softmax these outputs are merged before the cross-entropy (marginal loss, Shi et al. 2021,
doi.org/10.1016/j.media.2021.101979), with sigmoid their outputs have none. Dice is of annotated structures only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medseg.core.labels import Labels
from medseg.training.step.voxel_sums import sigmoid_sums, softmax_sums

_SMOOTH = 1e-5
_SMALLEST = 1e-8


def _own(sums: Tensor) -> Tensor:
    return sums


@dataclass(frozen=True)
class Loss:
    """Dice + cross-entropy (labels) or Dice + binary cross-entropy (regions), weighted over resolutions.

    Attributes:
        labels: decides between softmax and sigmoid, and what makes up a region.
        batch_dice: sum over the batch before the Dice ratio, instead of a ratio per sample.
        dice_weight, cross_entropy_weight: of the two terms.
        scales: per output, how much coarser than the target it is along each axis, the finest first.
        total: adds up a vector over the processes that share a batch (`Ranks.total`).
    """

    labels: Labels
    batch_dice: bool
    dice_weight: float
    cross_entropy_weight: float
    scales: Sequence[Sequence[int]]
    total: Callable[[Tensor], Tensor] = _own
    _membership: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, outputs: Sequence[Tensor], target: Tensor, annotated: Tensor | None = None) -> Tensor:
        """Loss of logits (batch, outputs, ...) per scale against label indices (batch, ...).

        Weights halve from one resolution to the next and sum to one; targets are thinned by nearest neighbour.

        Args:
            annotated: (batch, structures) bool, which structures were annotated in each sample; None for all.
        """
        parts = [
            self._sums(logits, _thin(target, scale), annotated)
            for logits, scale in zip(outputs, self.scales, strict=True)
        ]
        weights = [0.5**level for level in range(len(parts))]
        losses = self._losses(self.total(torch.stack(parts))).unbind()
        return torch.stack([weight / sum(weights) * loss for weight, loss in zip(weights, losses, strict=True)]).sum()

    def _sums(self, logits: Tensor, target: Tensor, annotated: Tensor | None) -> Tensor:
        """All that the formulas need of one resolution, in one vector that may be added over parts of a batch."""
        softmax = self.labels.activation == "softmax"
        if softmax:
            sums = softmax_sums(logits, target, annotated)
        else:
            sums = sigmoid_sums(logits, target, self._on(target.device))
        first = 1 if softmax else 0  # the background has no Dice
        areas = [area[:, first:] for area in (sums.overlap, sums.prediction, sums.reference)]
        known = torch.ones_like(areas[2]) if annotated is None else annotated.to(areas[2])
        entropy, voxels = sums.entropy, sums.voxels
        if not softmax:
            entropy, voxels = entropy * known, voxels * known
        overlap, prediction, reference = (area * known for area in areas)
        if self.batch_dice:
            dice = [part.sum(0) for part in (overlap, prediction, reference, known)]
        else:
            dice = [(_dice(overlap, prediction, reference) * known).sum()[None], known.sum()[None]]
        return torch.cat([entropy.sum()[None], voxels.sum()[None], *dice])

    def _on(self, device: torch.device) -> Tensor:
        """Which label indices make up each region, copied to a device once: a copy in every step would wait for it."""
        if device not in self._membership:
            self._membership[device] = torch.from_numpy(self.labels.membership).to(device)
        return self._membership[device]

    def _losses(self, sums: Tensor) -> Tensor:
        """Loss of each resolution from (resolutions, sums)."""
        cross_entropy = sums[:, 0] / sums[:, 1].clamp(min=1)
        if self.batch_dice:
            overlap, prediction, reference, known = sums[:, 2:].unflatten(1, (4, -1)).unbind(1)
            known = known.clamp(max=1)
            dice = (_dice(overlap, prediction, reference) * known).sum(1) / known.sum(1).clamp(min=1)
        else:
            dice = sums[:, 2] / sums[:, 3].clamp(min=1)
        return self.cross_entropy_weight * cross_entropy - self.dice_weight * dice


def _dice(overlap: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
    """Soft Dice."""
    return (2 * overlap + _SMOOTH) / (prediction + reference + _SMOOTH).clamp(min=_SMALLEST)


def _thin(target: Tensor, scale: Sequence[int]) -> Tensor:
    """Nearest neighbour ("nearest-exact") on a grid that is coarser by whole factors: the middle of each cell."""
    return target[(slice(None), *(slice(factor // 2, None, factor) for factor in scale))]
