"""How well the mirrored copies of a scan agree on each structure: each fold's with each other, in one figure.

Of the n answers of a fold to a tile, each gives a voxel a probability p_i. The agreement is the mean over pairs of
sum(p_i p_j), divided by the mean over answers of sum(p_i p_i): 1 where all are equal, and for masks close to the Dice
of a pair. Sums run over all tiles and folds. Folds are not compared with each other: out of fold, where this figure
is related to scores (`medseg.confidence`), there is a single fold that never saw the case.

Only sums are kept: nothing here is as large as the scan.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from medseg.core.labels import Labels
from medseg.inference.tiles import View

_MOST_VOXELS = 1 << 18
"""Voxels of a tile that are compared; of larger tiles every second, third, ... along each axis."""


class Agreement:
    """Sums over tiles of what mirrored copies have in common; `add` is called for each view and fold.

    Args:
        labels: the structures.
        folds: number of networks, whose answers to a batch of tiles come one network after another.
        flips: number of mirrored copies, the tile itself included.
    """

    def __init__(self, labels: Labels, folds: int, flips: int) -> None:
        self.labels, self.folds, self.flips = labels, folds, flips
        self._common = torch.zeros(len(labels.names), dtype=torch.float64)
        self._own = torch.zeros(len(labels.names), dtype=torch.float64)
        self._tiles: dict[int, _Tile] = {}

    def add(self, view: View, logits: torch.Tensor) -> None:
        """Add the answer of the next fold to a view.

        Args:
            view: which tile, and how it is mirrored.
            logits: (outputs, z, y, x) of the mirrored tile.
        """
        if self.flips == 1:
            return
        tile = self._tiles.setdefault(id(view.tile), _Tile())
        number = tile.answers.get(view.flip, 0)  # folds answer in turn
        tile.answers[view.flip] = number + 1
        probabilities = self.labels.probabilities(_thinned(view, logits))
        tile.sums[number] = tile.sums[number] + probabilities if number in tile.sums else probabilities
        tile.own = tile.own + (probabilities * probabilities).sum((1, 2, 3))
        tile.count += 1
        if tile.count == self.folds * self.flips:
            del self._tiles[id(view.tile)]
            together = sum((total * total).sum((1, 2, 3)) for total in tile.sums.values()) - tile.own
            self._common += together.double().cpu() / (self.flips - 1)
            self._own += tile.own.double().cpu()

    def values(self) -> list[float | None]:
        """Return the agreement on each structure; None without mirrored copies, or where no copy has any of it."""
        if self.flips == 1:
            return [None] * len(self.labels.names)
        pairs = zip(self._common.tolist(), self._own.tolist(), strict=True)
        return [max(0.0, min(1.0, common / own)) if own > 0 else None for common, own in pairs]


@dataclass
class _Tile:
    """Sums over the answers to a tile so far.

    Attributes:
        sums: {fold: sum of the probabilities of its answers}.
        own: (structures,) sum over answers of the sum of squares.
        answers: {mirrored dimensions: how many folds have answered}.
        count: answers so far.
    """

    sums: dict[int, torch.Tensor] = field(default_factory=dict)
    own: torch.Tensor | float = 0.0
    answers: dict[tuple[int, ...], int] = field(default_factory=dict)
    count: int = 0


def _thinned(view: View, logits: torch.Tensor) -> torch.Tensor:
    """Return logits (outputs, z, y, x) of the tile as it lies in the scan, of every n-th voxel, without padding."""
    step, indices = 1, []
    while logits[0].numel() > _MOST_VOXELS * step**3:
        step += 1
    for axis, span in enumerate(view.tile.spans, start=1):
        index = torch.arange(span.tile.start, span.tile.stop, step, device=logits.device)
        indices.append(logits.shape[axis] - 1 - index if axis in view.flip else index)
    z, y, x = indices
    return logits[:, z[:, None, None], y[None, :, None], x[None, None, :]].float()
