"""Network, optimizer and averaged weights: what one step of training does."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import MedsegError, ModelError
from medseg.networks.build import supervision_scales
from medseg.networks.device import autocast
from medseg.schema import Configuration, Plan
from medseg.sections import Training
from medseg.training.checkpoint import load_checkpoint
from medseg.training.loss import Loss
from medseg.training.schedule import learning_rate


@dataclass(frozen=True)
class Setup:
    """What a run is made of, besides its network and its data."""

    plan: Plan
    configuration: Configuration
    steps: int
    device: torch.device
    precision: torch.dtype
    folder: Path


class Trainer:
    """Network, optimizer and averaged weights: what a step changes, and what a checkpoint holds."""

    def __init__(self, network: torch.nn.Module, setup: Setup) -> None:
        training = setup.plan.training
        network_settings = setup.configuration.network
        self.setup = setup
        self.network = network.to(setup.device).train()
        scales = supervision_scales(network_settings, setup.configuration.dimensions, training.deep_supervision)
        self.loss = Loss(
            setup.plan.labels,
            setup.configuration.batch_dice,
            training.dice_weight,
            training.cross_entropy_weight,
            scales,
        )
        self.optimizer = make_optimizer(self.network, training)
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == torch.float16)
        self.average = deepcopy(self.network).eval() if training.average_weights > 0 else None

    @property
    def best(self) -> torch.nn.Module:
        """The network to predict with: the averaged one where weights are averaged."""
        return self.network if self.average is None else self.average

    def step(
        self, step: int, image: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One optimizer step on a `Batch`; returns the loss, still on the device."""
        training = self.setup.plan.training
        rate = learning_rate(step, self.setup.steps, training.learning_rate, training.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.setup.device, self.setup.precision):
            outputs = self.network(image, len(self.loss.scales))
        loss = self.loss(outputs, target, annotated)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), training.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self._update_average(step)
        return loss.detach()

    def check(self, step: int) -> None:
        """Refuse weights that are no longer numbers, so that no checkpoint and no model holds any.

        Raises:
            MedsegError: there are some.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise diverged("weights are no longer numbers", step)

    def state(self, step: int) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        return {
            "step": step,
            "steps": self.setup.steps,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, path: Path) -> int:
        """Take over a checkpoint's state; returns the step to go on from."""
        state = load_checkpoint(path, self.setup.device)
        if state.get("steps") != self.setup.steps:
            raise ModelError(f"{path} belongs to a run of {state.get('steps')} steps, this one has {self.setup.steps}.")
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{path} does not fit the plan: {str(error).splitlines()[0]}") from None
        return int(state["step"])

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Exponential moving average, over fewer steps at first so that the start is forgotten."""
        assert self.average is not None
        decay = min(self.setup.plan.training.average_weights, (1 + step) / (10 + step))
        for mine, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)


def make_optimizer(network: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    """The plan's optimizer over all parameters."""
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            nesterov=training.momentum > 0,
            fused=True,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )


def diverged(what: str, step: int) -> MedsegError:
    """The error that ends a run whose numbers are no numbers any more."""
    return MedsegError(
        f"The {what} after step {step}; the last good checkpoint is kept.",
        "Check the scans for odd intensities, lower training.learning_rate, or set training.precision=fp32.",
    )
