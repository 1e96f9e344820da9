"""The uncertainty of a model: mean and spread of each structure's probability over folds and mirrored copies.

In a tile, each of the n predictions (fold times mirrored copy) gives each voxel a probability p_i per structure. Over
the n predictions these have a mean and a variance (of the population: divided by n). Both are averaged over the tiles
that cover a voxel, with the weights that logits are averaged with. The spread is the square root of that variance: the
standard deviation of the probability, between 0 and 0.5. Differences between overlapping tiles do not enter.

Labels are decided by the mean of logits, not by the mean of probabilities; the two differ where predictions disagree.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.core.progress import Callback, silent
from medseg.inference.tiles import View
from medseg.inference.window_pass import WindowPass

SUMS_PER_TILE = 5
"""Values of each voxel and structure of a tile: the first prediction, two sums, and two that are being computed."""


def stream_uncertainty(
    window_pass: WindowPass, labels: Labels, callback: Callback = silent, single: bool = False
) -> Iterator[torch.Tensor]:
    """Yield mean and spread of the probabilities as consecutive slabs (2 x structures, planes, y, x).

    The first channels are the mean probability of each structure, the others the spreads.

    Args:
        window_pass: the volume and the networks.
        labels: say which structures exclude each other.
        callback: receives progress after every batch of tiles; may raise `Cancelled`.
        single: whether a single prediction is allowed, whose spread is 0.

    Raises:
        PlanError: there is only one prediction: one fold without mirrored copies.
        MedsegError: there is not enough memory for a single tile.
    """
    predictions = len(window_pass.members) * len(window_pass.views.flips)
    if predictions == 1 and not single:
        raise PlanError(
            "The spread compares the answers of several folds or of mirrored copies; this model has one fold, and "
            "mirroring is off.",
            "Use --mirror, or a model with several folds.",
        )
    tile_sums: dict[int, _Sums] = {}

    def gather(view: View, logits: torch.Tensor) -> list[tuple[View, torch.Tensor, float]]:
        sums = tile_sums.setdefault(id(view.tile), _Sums())
        sums.add(labels.probabilities(logits.float()).flip(view.flip))
        if sums.count < predictions:
            return []
        del tile_sums[id(view.tile)]
        return [(View(view.tile, ()), sums.mean_and_variance(), 1.0)]

    for slab in window_pass.slabs(gather, callback):
        slab[len(labels.names) :].clamp_(min=0).sqrt_()
        yield slab


class _Sums:
    """Sums over the predictions for a tile, of differences from the first one: equal ones then have no spread at all.

    Sums of squares themselves would leave a spread of about 1e-4 by rounding.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, probabilities: torch.Tensor) -> None:
        self.count += 1
        if self.count == 1:
            self.first = probabilities
            self.sum, self.squares = torch.zeros_like(probabilities), torch.zeros_like(probabilities)
            return
        difference = probabilities - self.first
        self.sum += difference
        self.squares.addcmul_(difference, difference)

    def mean_and_variance(self) -> torch.Tensor:
        offset = self.sum / self.count
        return torch.cat([self.first + offset, self.squares / self.count - offset * offset])
