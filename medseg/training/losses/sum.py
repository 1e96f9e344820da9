"""A sum of losses, each with a weight that may change in the course of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medseg.training.losses.protocol import Loss, SummedLoss


class Part(NamedTuple):
    """One loss of a sum.

    Attributes:
        loss: the loss.
        first: its weight at the start of the schedule.
        last: its weight at the end; in between it changes linearly with the progress.
    """

    loss: Loss | SummedLoss
    first: float
    last: float


class LossSum:
    """The losses of a sum and their weights at the present step; `DeepSupervision` computes it.

    Args:
        parts: the losses with their weights.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self._progress = 0.0
        self._tensors: dict[torch.device, Tensor] = {}

    @property
    def weights(self) -> list[float]:
        """The present weight of each part."""
        return [part.first + (part.last - part.first) * self._progress for part in self.parts]

    def advance(self, progress: float) -> None:
        """Set the weights to those of a point of the schedule.

        Args:
            progress: from 0 at the start to 1 at the end.
        """
        before = self.weights
        self._progress = progress
        if self.weights != before:
            for tensor in self._tensors.values():
                tensor.copy_(torch.tensor(self.weights))

    def weights_on(self, device: torch.device) -> Tensor:
        """Return the present weights as a tensor that stays the same one, which a recorded step reads again."""
        if device not in self._tensors:
            self._tensors[device] = torch.tensor(self.weights, device=device)
        return self._tensors[device]
