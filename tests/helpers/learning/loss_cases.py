"""Losses as the loop makes them, on random answers; and two losses compared with their gradients."""

from __future__ import annotations

from typing import Any

import torch
from builders import make_training

from medseg.core.labels import IGNORE, Labels
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.table import make_loss

CLASSES = Labels(structures={"a": 1, "b": 2})
REGIONS = Labels(structures={"all": [1, 2], "b": 2}, activation="sigmoid", region_values=[1, 2])


def ignoring(labels: Labels) -> Labels:
    """Return the same labels with a value for ignored voxels."""
    return labels.model_copy(update={"ignore": 9})


def draw(labels: Labels, *shape: int, ignored: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random logits (2, outputs, *shape) with a gradient, and label indices (2, *shape), ignored ones too."""
    torch.manual_seed(0)
    logits = (torch.randn(2, labels.outputs, *shape) * 2).requires_grad_()
    return logits, torch.randint(IGNORE if ignored else 0, 3, (2, *shape), dtype=torch.int16)


def supervised(name: Any, labels: Labels, batch_dice: bool = False, total: Any = None) -> DeepSupervision:
    """Return the loss of a plan's `training.loss` at the full resolution alone."""
    loss = make_loss(make_training(loss=name), labels, batch_dice)
    return DeepSupervision(loss, labels, [[1, 1]], *(() if total is None else (total,)))


def value_and_gradient(loss: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a loss and its gradient by the logits that it was computed from."""
    return loss.detach(), torch.autograd.grad(loss, logits, retain_graph=True)[0]


def assert_same(loss: torch.Tensor, other: torch.Tensor, logits: torch.Tensor) -> None:
    """Compare two losses of the same logits, and their gradients."""
    for first, second in zip(value_and_gradient(loss, logits), value_and_gradient(other, logits), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)
