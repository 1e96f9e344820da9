"""The plan's optimizer; the encoder may learn slower than the rest of the network, or not at all."""

from __future__ import annotations

from typing import Any

import torch

from medseg.errors import PlanError
from medseg.sections import Training

_ENCODER = ("stem.", "encoder.")


def make_optimizer(network: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    """The plan's optimizer over all parameters; gradients of a frozen encoder are switched off in the network.

    Raises:
        PlanError: the encoder is to learn at another rate, and the network has none.
    """
    groups = _groups(network, training.encoder_learning_rate)
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            nesterov=training.momentum > 0,
            fused=True,
        )
    return torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of `make_optimizer` its share of the schedule's rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):  # a recorded step reads it where it lies
            group["lr"].fill_(rate * group["share"])
        else:
            group["lr"] = rate * group["share"]


def _groups(network: torch.nn.Module, encoder_share: float) -> list[dict[str, Any]]:
    """Parameters with their share of the learning rate; those that do not learn are in no group."""
    if encoder_share == 1:
        return [{"params": list(network.parameters()), "share": 1.0}]
    encoder: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (encoder if name.startswith(_ENCODER) else rest).append(parameter)
    if not encoder or not rest:
        raise PlanError(
            f"training.encoder_learning_rate is {encoder_share:g}, and this network has no part named encoder.",
            "medseg's own U-Nets have one. Set training.encoder_learning_rate=1 for any other network.",
        )
    groups: list[dict[str, Any]] = [{"params": rest, "share": 1.0}]
    if encoder_share > 0:
        return [*groups, {"params": encoder, "share": encoder_share}]
    for parameter in encoder:
        parameter.requires_grad_(False)
    return groups
