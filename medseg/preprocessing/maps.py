"""Maps beside the labels: the probability of each structure, and how uncertain the answer is (entropy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.preprocessing.restore import Sink
from medseg.preprocessing.volume import Geometry

Transform = Callable[[torch.Tensor], torch.Tensor]
"""Turns logits (outputs, planes, y, x) on the scan's grid into maps (maps, planes, y, x)."""


def probabilities(labels: Labels) -> Transform:
    """Return a transform to one probability map for each structure, in the order of `labels.names`."""
    if labels.activation == "softmax":
        return labels.probabilities
    return torch.sigmoid


def entropy(labels: Labels) -> Transform:
    """Return a transform to one map of uncertainty: 0 where one answer is certain, 1 where all are equally likely.

    Shannon's entropy of the probabilities, divided by its largest value, the logarithm of the number of answers. For
    regions, the mean over the regions of each one's entropy.
    """
    if labels.activation == "softmax":
        first = labels.first_answer
        most = log(max(labels.outputs - first, 2))  # of a single answer the entropy is 0
        return lambda logits: _shannon(logits[first:].log_softmax(0)) / most

    def of_regions(logits: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(logits[:1])
        for logit in logits:
            inside_and_outside = torch.stack([logit, -logit])
            total += _shannon(torch.nn.functional.logsigmoid(inside_and_outside))
        return total / (len(logits) * log(2))

    return of_regions


def _shannon(logarithms: torch.Tensor) -> torch.Tensor:
    """Return the entropy (1, ...) in nats of log-probabilities (answers, ...); 0 log 0 is 0, as exp(-large) is."""
    return -(logarithms.exp() * logarithms).sum(0, keepdim=True)


def map_sink(
    geometry: Geometry, transform: Transform, writes: Sequence[Callable[[int, NDArray], None]], outside: float = 0.0
) -> Sink:
    """Return a sink that passes each map of a transform to a function of its own.

    Planes are those of the whole turned grid of the scan (`Geometry.turned_shape`), and hold `outside` beyond the
    nonzero box, where the network saw nothing and the answer is background. Planes outside the box are not passed.

    Args:
        geometry: how the scan came to the network's grid.
        transform: makes the maps.
        writes: for each map, `write(number of the first plane, planes (plane, y, x))`.
        outside: value beyond the nonzero box.
    """
    z, y, x = geometry.box

    def sink(first: int, logits: torch.Tensor) -> None:
        maps = transform(logits).cpu().numpy()
        for write, values in zip(writes, maps, strict=True):
            planes = np.full((len(values), *geometry.turned_shape[1:]), outside, np.float32)
            planes[:, y, x] = values
            write(z.start + first, planes)

    return sink
