"""Muon: momentum whose every update is made orthogonal, for the weights of convolutions; AdamW for all others.

Muon is by Jordan et al. 2024 (kellerjordan.github.io/posts/muon). The factor that makes an update as large as Adam's,
so that both use one learning rate, is that of Liu et al. 2025 (arXiv 2502.16982). A kernel is taken as a matrix with a
row for each output channel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.optim.adamw import adamw

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that, applied five times, maps singular values between 0.01 and 1 to between 0.7 and 1.2."""
_ITERATIONS = 5
_MOST_ROWS = 64
"""Kernels of more outputs are made orthogonal in blocks of rows, as the work grows with their square and cube. With one
seed the Dice was 0.001 higher on hippocampus and 0.004 lower on nuclei, at half of the cost
(docs/benchmarks/history.md)."""
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
            if weights and group["orthogonal"]:
                self._step_orthogonal(weights, group, skip)
            elif weights:
                self._step_adam(weights, group)

    def _step_orthogonal(self, weights: list[torch.Tensor], group: dict[str, Any], skip: torch.Tensor | None) -> None:
        """Update kernels. Where `skip` is not 0 nothing changes."""
        momentum, rate = group["momentum"], group["lr"]
        means = self._state_of(weights, "mean")
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if skip is not None:  # the mean stays, and the step has no length
            gradients = [torch.where(skip.bool(), mean, new) for mean, new in zip(means, gradients, strict=True)]
            rate = torch.where(skip.bool(), torch.zeros_like(skip), rate)
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = [_blocks(update) for update in torch._foreach_lerp(gradients, means, momentum)]
        for weight, matrices, factors in zip(weights, ahead, whitening(ahead), strict=True):
            size = _ADAM_SIZE * max(len(weight), matrices.shape[2]) ** 0.5
            _descend(weight, matrices, factors * (rate * size), 1 - rate * group["weight_decay"])

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


def _blocks(kernel: torch.Tensor) -> torch.Tensor:
    """Return a kernel as matrices (blocks, rows, columns), the fewest equal ones of at most `_MOST_ROWS` rows.

    It is one matrix where they would be too narrow.
    """
    rows = len(kernel)
    count = next(count for count in range(-(-rows // _MOST_ROWS), rows + 1) if rows % count == 0)
    return kernel.reshape(count if rows // count >= _FEWEST_ROWS else 1, -1, kernel[0].numel())


def _descend(weight: torch.Tensor, matrices: torch.Tensor, factors: torch.Tensor, kept: float | torch.Tensor) -> None:
    """Subtract the products of matrices and their factors from what is kept of a weight.

    Args:
        weight: a kernel, changed in place.
        matrices: (blocks, rows, columns) of it.
        factors: (blocks, side, side), for the shorter side of the matrices.
        kept: what the weight is multiplied by first.
    """
    pair = (factors, matrices) if _is_wide(matrices) else (matrices, factors)
    if isinstance(kept, float) and weight.is_contiguous():
        weight.view(matrices.shape).baddbmm_(*pair, beta=kept, alpha=-1)
    else:  # on a device that is not asked for numbers, or in another layout
        weight.mul_(kept).sub_(torch.bmm(*pair).view(weight.shape))


def _is_wide(matrices: torch.Tensor) -> bool:
    return matrices.shape[1] <= matrices.shape[2]


def whitening(batches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the factors that make matrices orthogonal, nearly: singular values come near 1, singular vectors stay.

    A Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X. Every factor is a polynomial of the first XX', so that
    they are multiplied with each other, which is cheap for a kernel of few outputs and many inputs. XX' also has the
    norm to begin with, and matrices of one shorter side become one batch, whichever kernels they are of.

    Args:
        batches: (blocks, rows, columns) each.

    Returns:
        (blocks, side, side) each, to be multiplied with the shorter side of the matrices: from the left if they have no
        more rows than columns, else from the right.
    """
    grams = [each @ each.mT if _is_wide(each) else each.mT @ each for each in batches]
    alike: dict[Any, list[int]] = defaultdict(list)
    for number, gram in enumerate(grams):
        alike[gram.shape[1], gram.dtype, gram.device].append(number)
    factors = grams.copy()
    for numbers in alike.values():
        together = _inverse_roots(torch.cat([grams[number] for number in numbers]))
        for number, part in zip(numbers, together.split([len(grams[number]) for number in numbers]), strict=True):
            factors[number] = part
    return factors


def _inverse_roots(grams: torch.Tensor) -> torch.Tensor:
    """Return nearly the inverse square roots of products XX' (batch, side, side)."""
    scale = 1 / grams.diagonal(dim1=1, dim2=2).sum(1).sqrt().clamp(min=_SMALLEST)[:, None, None]
    gram = grams * scale**2
    a, b, c = _COEFFICIENTS
    product = None
    for iteration in range(_ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if iteration < _ITERATIONS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product * scale
