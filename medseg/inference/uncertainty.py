"""How sure a model is: the mean and the spread of each structure's probability over folds and mirrored copies.

In a tile, each of the n looks (fold times mirrored copy) gives each voxel a probability p_i per structure. Over the
looks of a tile these have a mean and a variance (of the population: divided by n). Both are averaged over the tiles
that cover a voxel, with the weights that logits are averaged with. The spread is the square root of that variance: the
standard deviation of the probability, between 0 and 0.5. That tiles differ among each other does not enter.

The mean of probabilities is not what labels are decided by, which is the mean of logits; the two differ where looks
disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import torch

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.core.progress import Callback, silent
from medseg.inference.views import View
from medseg.inference.window_pass import Sweep


def stream_uncertainty(sweep: Sweep, labels: Labels, callback: Callback = silent) -> Iterator[torch.Tensor]:
    """Slabs (2 x structures, planes, y, x) along the first axis: each structure's mean probability, then each spread.

    Raises:
        PlanError: there is one look only.
        MedsegError: there is not enough memory for a single tile.
    """
    looks = len(sweep.members) * len(sweep.views.flips)
    if looks == 1:
        raise PlanError(
            "The spread is taken over folds and mirrored copies; here are one fold and no mirrored copies.",
            "Use --mirror, or a model of several folds.",
        )
    gathered: dict[int, _Looks] = {}

    def gather(view: View, logits: torch.Tensor) -> list[tuple[View, torch.Tensor, float]]:
        so_far = gathered.setdefault(id(view.tile), _Looks())
        so_far.add(labels.probabilities(logits.float()).flip(view.flip))
        if so_far.count < looks:
            return []
        del gathered[id(view.tile)]
        return [(View(view.tile, ()), so_far.mean_and_variance(), 1.0)]

    for slab in sweep.slabs(gather, callback):
        slab[len(labels.names) :].clamp_(min=0).sqrt_()
        yield slab


class _Looks:
    """Sums over the looks at a tile, as differences from the first look, so that equal looks have no spread at all."""

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


def entropy(probabilities: torch.Tensor, labels: Labels) -> torch.Tensor:
    """(structures, ...) probabilities to (...) entropy between 0 and 1.

    Softmax: of the background and all structures, as a share of the entropy when all are equally likely. Sigmoid: the
    largest of the structures' own, each as a share of its entropy at a probability of one half.
    """
    if labels.activation == "softmax":
        background = (1 - probabilities.sum(0, keepdim=True)).clamp(min=0)
        every = torch.cat([background, probabilities])
        return torch.special.entr(every).sum(0) / log(len(every))
    each = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
    return each.amax(0) / log(2)
