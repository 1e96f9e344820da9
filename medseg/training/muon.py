"""Muon: momentum whose every update is made orthogonal, for the weights of convolutions.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon); the factor that makes an update as large as Adam's is that of
Liu et al. 2025 (arXiv 2502.16982). A kernel is seen as a matrix with a row for each entry of its first axis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that five times over maps singular values between 0.01 and 1 to between 0.7 and 1.2."""
_ITERATIONS = 5
_SMALLEST = 1e-7
_ADAM_SIZE = 0.2
"""Root mean square of an update of Adam's, about."""


class Muon(torch.optim.Optimizer):
    """Steps of equal strength in all directions of a weight matrix, with decoupled weight decay.

    Args:
        params: weights of two or more axes, or groups of such.
        lr: as for Adam.
        momentum: of the moving average of gradients, applied as Nesterov's.
        weight_decay: share of a weight that is lost per step, times `lr`.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for weights in alike.values():
                self._step_alike(weights, group)

    def _step_alike(self, weights: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Weights of one shape: their matrix products are one batch."""
        momentum, rate = group["momentum"], group["lr"]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        means = [self._mean(weight) for weight in weights]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = torch.stack(torch._foreach_lerp(gradients, means, momentum))
        updates = orthogonal(ahead.flatten(2))
        size = _ADAM_SIZE * max(updates.shape[1:]) ** 0.5
        for weight, update in zip(weights, updates, strict=True):
            weight.mul_(1 - rate * group["weight_decay"]).sub_(rate * size * update.view_as(weight))

    def _mean(self, weight: torch.Tensor) -> torch.Tensor:
        """The moving average of a weight's gradients."""
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        mean: torch.Tensor = state["mean"]
        return mean


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """About the nearest orthogonal matrices (batch, rows, columns): singular vectors stay, values come near 1.

    A Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X. Every factor is a polynomial of the first XX', so that
    all of them are multiplied on that side, which is small for a kernel of few outputs and many inputs, and X once.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=_SMALLEST)
    a, b, c = _COEFFICIENTS
    gram = wide @ wide.mT
    one = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    product = one
    for _ in range(_ITERATIONS):
        factor = a * one + b * gram + c * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    found = product @ wide
    return found if matrices.shape[1] <= matrices.shape[2] else found.mT
