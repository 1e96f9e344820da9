"""Network, optimizer and averaged weights: what one step of training does."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from medseg.core.errors import ModelError
from medseg.networks.build import supervision_scales
from medseg.networks.device import autocast
from medseg.training.data.batches import Batch
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.table import make_loss
from medseg.training.run.schedule import progress
from medseg.training.run.setup import Setup
from medseg.training.step.graph import CudaRecorder, Recorded, make_capturable
from medseg.training.step.optimizer import make_optimizer, set_learning_rate
from medseg.training.step.ranks import ALONE

_ROUNDING = 1e-12
_STATE = {"step", "progress", "network", "average", "optimizer", "scaler", "random", "device_random"}
"""Of a checkpoint, what a step depends on."""


class Trainer:
    """Network, optimizer and averaged weights: what a step changes, and what a checkpoint holds."""

    def __init__(self, network: torch.nn.Module, setup: Setup) -> None:
        training = setup.plan.training
        network_settings = setup.configuration.network
        self.setup = setup
        self.network = network.to(setup.device).train()
        scales = supervision_scales(network_settings, setup.configuration.dimensions, training.deep_supervision)
        labels = setup.plan.labels
        loss = make_loss(training, labels, setup.configuration.batch_dice)
        self.loss = DeepSupervision(loss, labels, scales, setup.ranks.total)
        setup.ranks.spread(self.network)
        if setup.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes stay as they are: trying algorithms pays off
        self.optimizer = make_optimizer(self.network, training)
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == torch.float16)
        self.average = deepcopy(self.network).eval() if training.average_weights > 0 else None
        self._recorded = self._as_graph() if training.cuda_graph and setup.device.type == "cuda" else None

    @property
    def best(self) -> torch.nn.Module:
        """The network to predict with: the averaged one where weights are averaged."""
        return self.network if self.average is None else self.average

    def step(
        self, step: int, image: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One optimizer step on a `Batch`; returns the loss, still on the device."""
        set_learning_rate(self.optimizer, self.setup.learning_rate(step))
        loss = (self._recorded or self._learn)(image, target, annotated)
        if self.average is not None:
            self._update_average(step)
        return loss

    @property
    def note(self) -> str | None:
        """What a user should know of how steps are computed."""
        return None if self._recorded is None else self._recorded.note

    def _learn(self, image: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None) -> torch.Tensor:
        """Loss, gradients, new weights; nothing here asks the device for a number."""
        with autocast(self.setup.device, self.setup.precision):
            outputs = self.network(image, len(self.loss.scales))
        loss = self.loss(outputs, target, annotated)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.setup.ranks.add_gradients(self.network.parameters())
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.setup.plan.training.gradient_clip)
        self._skip_unless_finite(norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _as_graph(self) -> Recorded:
        """The step to be recorded, as far as it can be."""
        recorded = Recorded(self._learn, CudaRecorder(self.setup.device))
        if self.setup.ranks.size > 1 or self.scaler.is_enabled():
            why = "several processes" if self.setup.ranks.size > 1 else "fp16"
            recorded.note = f"training.cuda_graph is of no use with {why}: steps run without"
        else:
            make_capturable(self.optimizer, self.setup.device)
        return recorded

    def finite(self) -> bool:
        """Whether all weights are numbers, as they have to be in a checkpoint and in a model."""
        return all(bool(parameter.isfinite().all()) for parameter in self.network.parameters())

    @torch.no_grad()
    def losses_one_by_one(self, batch: Batch) -> list[float]:
        """The loss of each sample of a batch alone, without training on it; of the whole batch in every process."""
        found, alone = [], replace(self.loss, total=ALONE.total)
        for number in range(len(batch.image)):
            one = slice(number, number + 1)
            annotated = None if batch.annotated is None else batch.annotated[one]
            with autocast(self.setup.device, self.setup.precision):
                outputs = self.network(batch.image[one], len(self.loss.scales))
            found.append(float(alone(outputs, batch.target[one], annotated)))
        return found

    def state(self, step: int) -> dict[str, Any]:
        """Everything that the rest of the run depends on, `step` steps done; batches depend on the step alone."""
        device = self.setup.device
        return {
            "step": step,
            "progress": progress(self.setup.course, step - 1) if step else 0.0,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> int:
        """Take over a checkpoint's state, on the CPU; returns the step to go on from.

        Raises:
            ModelError: it belongs to another run, or to another network or optimizer.
        """
        missing = sorted(_STATE - state.keys())
        if missing:
            raise ModelError(
                f"The checkpoint in {self.setup.folder} has no {', '.join(missing)}: another medseg version wrote it.",
                "Go on with that version, or delete the folder and train anew.",
            )
        step = int(state["step"])
        there = progress(self.setup.course, step - 1) if step > 0 else 0.0
        if not 0 <= step <= self.setup.steps or abs(state["progress"] - there) > _ROUNDING:
            raise ModelError(
                f"The checkpoint of step {step} belongs to another run than that of {self.setup.steps} steps in "
                f"{self.setup.folder}.",
                "Put the run's own checkpoint back, or delete the folder and train anew.",
            )
        settings = [{key: value for key, value in group.items() if key != "params"} for group in self._groups]
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"The checkpoint does not fit the plan: {str(error).splitlines()[0]}") from None
        for group, own in zip(self._groups, settings, strict=True):
            group.update(own)  # momentum, weight decay: the plan's, which may have changed since
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None and self.setup.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_random"], self.setup.device)
        return step

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def _skip_unless_finite(self, norm: torch.Tensor) -> None:
        """Have the optimizer leave everything as it is where the gradient is no number, without asking the device.

        Fused optimizers look at `found_inf`, as they do for the scaler of fp16, which sets it itself.
        """
        if not self.scaler.is_enabled():
            self.optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Exponential moving average, over fewer steps at first so that the start is forgotten."""
        assert self.average is not None
        decay = min(self.setup.plan.training.average_weights, (1 + step) / (10 + step))
        for mine, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
