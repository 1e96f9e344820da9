"""Makes the plan's optimizer; the encoder may learn slower than the rest of the network, or not at all."""

from __future__ import annotations

from typing import Any

import torch

from medseg.core.errors import PlanError
from medseg.networks.row import WRAPPED
from medseg.networks.table import in_encoder
from medseg.plans.sections.training import Training
from medseg.training.step.muon import Muon

_HEADS = ("heads.",)
_CONVOLUTION_AXES = 4
"""Fewest axes of a convolution's weight: outputs, inputs, y, x."""


def make_optimizer(network: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    """Return the plan's optimizer over all parameters, and freeze the network's encoder if the plan says so.

    A frozen encoder is in evaluation mode and stays as it is, the statistics of its batch normalization included.

    Args:
        network: to be trained.
        training: the plan's section.

    Raises:
        PlanError: the encoder is to learn at another rate, and the network has none.
    """
    groups = _groups(network, training)
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimizer == "muon":
        return Muon(groups, lr=rate, momentum=training.momentum, weight_decay=decay)
    if training.optimizer == "sgd":
        nesterov = training.momentum > 0
        sgd = torch.optim.SGD(
            groups, lr=rate, momentum=training.momentum, weight_decay=decay, nesterov=nesterov, fused=True
        )
        # torch makes these at the first step, of memory as it is, and leaves them so where that step is skipped because
        # its gradients are not finite; from zeros, a first step is the same
        for parameter in (parameter for group in groups for parameter in group["params"] if training.momentum > 0):
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    adam = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
    return adam(groups, lr=rate, weight_decay=decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group.

    Args:
        optimizer: an optimizer from `make_optimizer`, whose groups have a `share` of the rate.
        rate: the learning rate that the schedule gives.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):  # a recorded step reads it from there
            group["lr"].fill_(rate * group["share"])
        else:
            group["lr"] = rate * group["share"]


def _groups(network: torch.nn.Module, training: Training) -> list[dict[str, Any]]:
    """Return the parameter groups with their share of the learning rate; what does not learn is in no group."""
    share = training.encoder_learning_rate
    named = dict(network.named_parameters())
    encoder = {name for name in named if in_encoder(network, name)} if share != 1 else set()
    if share != 1 and len(encoder) in (0, len(named)):
        raise PlanError(
            f"training.encoder_learning_rate is {share:g}, and this network has no part named encoder.",
            "medseg's own U-Nets, the networks with a pretrained encoder and most of MONAI's have one. Set "
            "training.encoder_learning_rate=1 for any other network.",
        )
    if share == 0:
        for name in encoder:
            named[name].requires_grad_(False)
        for name, module in network.named_modules():
            if in_encoder(network, name):
                module.eval()
    hidden = _hidden_convolutions(named) if training.optimizer == "muon" else set()
    groups = []
    for part, part_share in ((named.keys() - encoder, 1.0), (encoder, share)):
        for chosen, orthogonal in ((part - hidden, False), (part & hidden, True)):
            parameters = [named[name] for name in named if name in chosen]
            if parameters and part_share > 0:
                groups.append({"params": parameters, "share": part_share, "orthogonal": orthogonal})
    return groups


def _hidden_convolutions(named: dict[str, torch.nn.Parameter]) -> set[str]:
    """Return the names of the weights of all convolutions but the first, which reads the image, and the heads.

    Muon is for hidden layers only (Jordan et al. 2024).
    """
    weights = [name for name, parameter in named.items() if parameter.ndim >= _CONVOLUTION_AXES]
    return {name for name in weights[1:] if not name.removeprefix(WRAPPED).startswith(_HEADS)}
