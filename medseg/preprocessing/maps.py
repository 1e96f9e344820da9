"""What becomes of interpolated logits when more than labels are asked for: probabilities, and how unsure they are."""

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
"""(outputs, planes, y, x) values on the scan's grid to (maps, planes, y, x)."""


def probabilities(labels: Labels) -> Transform:
    """A map for each structure, in the order of `labels.names`; if they exclude each other, shares of one."""
    if labels.activation == "softmax":
        return lambda logits: logits.softmax(0)[1:]
    return torch.sigmoid


def entropy(labels: Labels) -> Transform:
    """One map of doubt: 0 where a single answer is certain, 1 where all are equally likely.

    Shannon's entropy of the probabilities over its largest value; of regions, the mean of each one's own.
    """
    if labels.activation == "softmax":
        return lambda logits: _shannon(logits.log_softmax(0)) / log(len(logits))

    def of_regions(logits: torch.Tensor) -> torch.Tensor:
        doubt = torch.zeros_like(logits[:1])
        for logit in logits:
            both = torch.stack([logit, -logit])
            doubt += _shannon(torch.nn.functional.logsigmoid(both))
        return doubt / (len(logits) * log(2))

    return of_regions


def _shannon(logarithms: torch.Tensor) -> torch.Tensor:
    return -(logarithms.exp() * logarithms).sum(0, keepdim=True)


def map_sink(
    geometry: Geometry, transform: Transform, writes: Sequence[Callable[[int, NDArray], None]], outside: float = 0.0
) -> Sink:
    """A sink that gives each map of a transform to its own `write(first plane, planes)`.

    Planes lie on the whole turned grid of the scan (`Geometry.turned_shape`), with the value `outside` beyond the
    nonzero box, where the network saw nothing and the answer is background. Planes beyond it do not come.
    """
    z, y, x = geometry.box

    def sink(first: int, logits: torch.Tensor) -> None:
        maps = transform(logits).cpu().numpy()
        for write, values in zip(writes, maps, strict=True):
            planes = np.full((len(values), *geometry.turned_shape[1:]), outside, np.float32)
            planes[:, y, x] = values
            write(z.start + first, planes)

    return sink
