"""Muon: momentum whose every update is made orthogonal, for the weights of convolutions; AdamW for all others.

Muon is by Jordan et al. 2024 (kellerjordan.github.io/posts/muon). The factor that makes an update as large as Adam's,
so that both use one learning rate, is that of Liu et al. 2025 (arXiv 2502.16982). A kernel is taken as a matrix with a
row for each output channel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.adamw import adamw

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that, applied five times, maps singular values between 0.01 and 1 to between 0.7 and 1.2."""
_ITERATIONS = 5
_MOST_ROWS = 64
"""Kernels of more outputs are made orthogonal in blocks of rows, as the work grows with their square and cube. With one
seed the Dice was 0.001 higher on hippocampus and 0.004 lower on nuclei, at half of the cost
(docs/benchmarks/accuracy.md)."""
_FEWEST_ROWS = 16
"""Rows of a block, at least: a kernel that divides only into narrower blocks is not divided."""
_SMALLEST = 1e-7
_ADAM_SIZE = 0.2
"""Root mean square of one of Adam's updates, about."""
_ADAM: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "maximize": False}


class Muon(torch.optim.Optimizer):
    """An optimizer with steps of equal strength in all directions of a weight matrix, and decoupled weight decay.

    Args:
        params: groups of weights, each with `orthogonal`: True for Muon's steps, False for AdamW's.
        lr: learning rate of both.
        momentum: the momentum of Muon's moving average of gradients, applied as Nesterov's.
        weight_decay: share of a weight that is lost per step, times `lr`.

    Attributes:
        found_inf: a tensor that is not 0 where a step is to leave everything as it is, as in torch's fused optimizers.
    """

    found_inf: torch.Tensor | None = None
    _step_supports_amp_scaling = True
    """torch's scaler of fp16 then sets `found_inf` too, instead of waiting for the device to know it."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float) -> None:
        # `fused` makes torch bring AdamW's counters of a checkpoint to the device of their weights
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "capturable": False, "fused": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient.

        Args:
            closure: not used; part of torch's interface.
        """
        skip = self.found_inf
        if skip is not None and skip.device.type == "cpu":  # on a GPU nothing waits for the answer
            if skip:
                return
            skip = None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not group["orthogonal"]:
                self._step_adam(weights, group)
                continue
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for weight in weights:
                by_shape[weight.shape].append(weight)
            for same_shape in by_shape.values():
                self._step_orthogonal(same_shape, group, skip)

    def _step_orthogonal(self, weights: list[torch.Tensor], group: dict[str, Any], skip: torch.Tensor | None) -> None:
        """Update weights of one shape, whose matrix products are one batch. Where `skip` is not 0 nothing changes."""
        momentum, rate = group["momentum"], group["lr"]
        means = self._state_of(weights, "mean")
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if skip is not None:  # the mean stays, and the step has no length
            gradients = [torch.where(skip.bool(), mean, new) for mean, new in zip(means, gradients, strict=True)]
            rate = torch.where(skip.bool(), torch.zeros_like(skip), rate)
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = torch.stack(torch._foreach_lerp(gradients, means, momentum)).flatten(2)
        updates = orthogonal(ahead.unflatten(1, (_blocks(ahead.shape[1]), -1)).flatten(0, 1)).reshape(ahead.shape)
        size = _ADAM_SIZE * max(updates.shape[1:]) ** 0.5
        for weight, update in zip(weights, updates, strict=True):
            weight.mul_(1 - rate * group["weight_decay"])
            if isinstance(rate, torch.Tensor):
                weight.sub_(rate * size * update.view_as(weight))
            else:
                weight.sub_(update.view_as(weight), alpha=rate * size)

    def _step_adam(self, weights: list[torch.Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if "step" not in self.state[weight]:
                self.state[weight]["step"] = torch.zeros((), device=weight.device)
        adamw(
            weights,
            [weight.grad for weight in weights if weight.grad is not None],
            self._state_of(weights, "exp_avg"),
            self._state_of(weights, "exp_avg_sq"),
            [],
            [self.state[weight]["step"] for weight in weights],
            fused=group["fused"],
            capturable=group["capturable"],
            found_inf=self.found_inf,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            **_ADAM,
        )

    def _state_of(self, weights: list[torch.Tensor], name: str) -> list[torch.Tensor]:
        """Return a state of each weight by its name; zeros at first."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]


def _blocks(rows: int) -> int:
    """Return the fewest equal blocks of at most `_MOST_ROWS` rows; one block where they would be too narrow."""
    count = next(count for count in range(-(-rows // _MOST_ROWS), rows + 1) if rows % count == 0)
    return count if rows // count >= _FEWEST_ROWS else 1


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return nearly the nearest orthogonal matrices: singular vectors stay, singular values come near 1.

    Args:
        matrices: (batch, rows, columns).

    A Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X. Every factor is a polynomial of the first XX', so that
    all of them are multiplied on that side, which is small for a kernel of few outputs and many inputs, and X once.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    scale = 1 / wide.norm(dim=(1, 2), keepdim=True).clamp(min=_SMALLEST)
    a, b, c = _COEFFICIENTS
    gram = (wide @ wide.mT) * scale**2
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    result = (product * scale) @ wide
    return result if matrices.shape[1] <= matrices.shape[2] else result.mT
