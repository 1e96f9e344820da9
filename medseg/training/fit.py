"""The training loop, readable from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import MedsegError, ModelError
from medseg.networks.build import supervision_scales
from medseg.networks.device import autocast, memory_errors
from medseg.preprocessing.cache import Sample
from medseg.progress import Callback, Progress
from medseg.schema import Configuration, Plan
from medseg.sections import Training
from medseg.training.batches import Batches
from medseg.training.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.log import Log
from medseg.training.loss import Loss
from medseg.training.schedule import learning_rate

Validate = Callable[[torch.nn.Module], dict[str, float | None]]

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 60.0
_LOG_EVERY = 10
_LESS_MEMORY = "Lower the batch_size or the patch_voxels of the configuration, or plan again with a smaller --memory."
_WARM_UP_STEPS = 3
_MOST_MEASURED = 1000


@dataclass(frozen=True)
class Setup:
    """What a run is made of, besides its network and its data."""

    plan: Plan
    configuration: Configuration
    steps: int
    device: torch.device
    precision: torch.dtype
    folder: Path


def fit(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    setup: Setup,
    validate: Validate,
    callback: Callback,
    resume: bool = False,
) -> torch.nn.Module:
    """Train `network` for `setup.steps` steps and return the one to predict with.

    Args:
        validate: scores a network on whole volumes: {structure: mean Dice}. Called after every n-th step, so that with
            the score of the finished network, which is the caller's, there are `training.validations`.
        resume: go on from the last checkpoint in `setup.folder`.

    Raises:
        MedsegError: the loss is no longer a number.
    """
    training = setup.plan.training
    batches = Batches(samples, setup.configuration, training, setup.device)
    trainer = Trainer(network, setup)
    start = trainer.restore(setup.folder / CHECKPOINT) if resume else 0
    log = Log(setup.folder / "log.jsonl", keep_to_step=start)
    validate_every = -(-setup.steps // training.validations)
    began = saved = time.monotonic()
    recent: list[torch.Tensor] = []
    scores: dict[str, float | None] = {}
    try:
        with closing(batches.ahead(start, setup.steps)) as stream:
            for step, batch in stream:
                with memory_errors(_LESS_MEMORY):
                    recent.append(trainer.step(step, *batch))
                done = step + 1
                if done % _LOG_EVERY == 0 or done == setup.steps:
                    loss = _mean_loss(recent, done)
                    seconds = time.monotonic() - began
                    rate = learning_rate(step, setup.steps, training.learning_rate, training.schedule)
                    log.add("train", done, loss=loss, learning_rate=rate, seconds=seconds)
                    speed = (done - start) / seconds
                    callback(Progress("train", done, setup.steps, {"loss": loss, "steps_per_second": speed, **scores}))
                if done % validate_every == 0 and done < setup.steps:
                    scores = validate(trainer.best)
                    log.add("validation", done, dice=scores, seconds=time.monotonic() - began)
                if time.monotonic() - saved > CHECKPOINT_SECONDS or done == setup.steps:
                    trainer.check(done)
                    save_checkpoint(setup.folder / CHECKPOINT, trainer.state(done))
                    saved = time.monotonic()
    finally:
        log.close()
    return trainer.best


def seconds_per_step(network: torch.nn.Module, samples: Sequence[Sample], setup: Setup, seconds: float) -> float:
    """Measure the loop's speed for about `seconds` on a copy of the network, which is thrown away."""
    batches = Batches(samples, setup.configuration, setup.plan.training, setup.device)
    trainer = Trainer(deepcopy(network), setup)
    times = [time.monotonic()]
    with closing(batches.ahead(0, _MOST_MEASURED)) as stream:
        for _, batch in stream:
            trainer.step(0, *batch).item()
            times.append(time.monotonic())
            if times[-1] - times[0] > seconds and len(times) > _WARM_UP_STEPS + 4:
                break
    return (times[-1] - times[_WARM_UP_STEPS]) / (len(times) - 1 - _WARM_UP_STEPS)


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
            raise _diverged("weights are no longer numbers", step)

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


def _mean_loss(recent: list[torch.Tensor], step: int) -> float:
    """Mean of the losses since the last call, which are forgotten."""
    mean = float(torch.stack(recent).mean())
    recent.clear()
    if mean != mean or mean in (float("inf"), float("-inf")):
        raise _diverged(f"loss is {mean}", step)
    return mean


def _diverged(what: str, step: int) -> MedsegError:
    return MedsegError(
        f"The {what} after step {step}; the last good checkpoint is kept.",
        "Check the scans for odd intensities, lower training.learning_rate, or set training.precision=fp32.",
    )
