"""One step of training: network, optimizer and averaged weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

import torch

from medseg.core.errors import ModelError
from medseg.networks.device import autocast, evaluating
from medseg.training.data.batches import Batch
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.run.setup import Setup
from medseg.training.step.optimizer import make_optimizer, set_learning_rate
from medseg.training.step.ranks import ALONE

if TYPE_CHECKING:
    from medseg.networks.cuda_graph import Recorder
    from medseg.training.step.graph import Recorded

_ROUNDING = 1e-12
"""Progress in a checkpoint that differs by more belongs to another course."""
_STATE = {"step", "progress", "network", "average", "optimizer", "scaler", "random", "device_random"}
"""Keys of a checkpoint that a step depends on."""


class Trainer:
    """Network, optimizer and averaged weights: what a step changes, and what a checkpoint holds.

    The setup is the loop's, whose course may change from step to step: it is handed to each call that needs it. Kept
    here is only what stays for the whole run.

    Args:
        network: with its first weights; it is moved to the setup's device.
        setup: plan, course, device and files of the run.

    Attributes:
        network: the network that is trained.
        average: the moving average of its weights; None where the plan has none.
        skipped: number of steps, on the device, that changed nothing, as a gradient was not finite.
        unchanged: whether a step that failed has left weights and optimizer as they were, so that it may be made again.
    """

    def __init__(self, network: torch.nn.Module, setup: Setup) -> None:
        training = setup.plan.training
        self.device, self.precision, self.ranks = setup.device, setup.precision, setup.ranks
        self.network = network.to(setup.device).train()
        self.loss = DeepSupervision.of(self.network, setup.plan, setup.configuration, setup.ranks.total)
        setup.ranks.spread(self.network)
        self.optimizer = make_optimizer(self.network, training)
        self.gradient_clip = training.gradient_clip
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.precision == torch.float16)
        self.average_weights = training.average_weights
        self.average = deepcopy(self.network).eval() if training.average_weights > 0 else None
        self.skipped = torch.zeros((), dtype=torch.int64, device=setup.device)
        self.unchanged = True
        self._recorded: Recorded | None = None
        if training.cuda_graph and setup.device.type == "cuda":
            from medseg.networks.cuda_graph import CudaRecorder

            self._recorded = self._as_graph(CudaRecorder(setup.device))

    @property
    def best(self) -> torch.nn.Module:
        """The network to predict with: the averaged one where weights are averaged."""
        return self.network if self.average is None else self.average

    def step(self, setup: Setup, step: int, batch: Batch) -> torch.Tensor:
        """Make one optimizer step and return its loss, which is still on the device.

        Args:
            setup: the setup of the run, as it is at this step.
            step: 0-based; learning rate and average depend on it.
            batch: to train on.
        """
        set_learning_rate(self.optimizer, setup.learning_rate(step))
        self.loss.advance(setup.course.progress(step))
        weights = batch.case_weights, batch.voxel_weights
        loss = (self._recorded or self._learn)(batch.image, batch.target, batch.annotated, *weights)
        if self.average is not None:
            self._update_average(step)
        return loss

    @property
    def note(self) -> str | None:
        """A note for the user on how steps are computed."""
        return None if self._recorded is None else self._recorded.note

    def _learn(
        self,
        image: torch.Tensor,
        target: torch.Tensor,
        annotated: torch.Tensor | None,
        case_weights: torch.Tensor | None,
        voxel_weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Compute loss and gradients and change the weights; nothing here asks the device for a number."""
        self.unchanged = True
        with autocast(self.device, self.precision):
            outputs = self.network(image, len(self.loss.scales))
        loss = self.loss(outputs, target, annotated, case_weights, voxel_weights)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.ranks.add_gradients(self.network.parameters())
        self.unchanged = False
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        self.skipped += ~norm.isfinite()
        if not self.scaler.is_enabled():
            # a gradient that is not a number leaves weights and state as they are, without asking the device: fused
            # optimizers look at `found_inf`, as they do for the scaler of fp16, which sets it itself
            self.optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _as_graph(self, recorder: Recorder) -> Recorded:
        """Return the step as one recorded once and replayed; with several processes or fp16 it runs unrecorded."""
        from medseg.training.step.graph import Recorded, make_capturable

        # Without a reference to this trainer: a circle of references would keep the graph's memory when it is dropped.
        learn = WeakMethod(self._learn)

        def step(
            image: torch.Tensor,
            target: torch.Tensor,
            annotated: torch.Tensor | None,
            case_weights: torch.Tensor | None,
            voxel_weights: torch.Tensor | None,
        ) -> torch.Tensor:
            method = learn()
            assert method is not None
            return method(image, target, annotated, case_weights, voxel_weights)

        recorded = Recorded(step, recorder)
        if self.ranks.size > 1 or self.scaler.is_enabled():
            why = "several processes" if self.ranks.size > 1 else "fp16"
            recorded.note = f"training.cuda_graph is of no use with {why}: steps run without"
        else:
            make_capturable(self.optimizer, self.device)
        return recorded

    def finite(self) -> bool:
        """Return whether all weights are numbers, as they have to be in a checkpoint and in a model."""
        return all(bool(parameter.isfinite().all()) for parameter in self.network.parameters())

    @torch.no_grad()
    def losses_one_by_one(self, batch: Batch) -> list[float]:
        """Return the loss of each sample alone, without training on it.

        Args:
            batch: all samples of a step, in every process.
        """
        losses, loss = [], replace(self.loss, total=ALONE.total)  # nothing is added up over processes
        for number in range(len(batch.image)):
            sample = slice(number, number + 1)
            optional = batch.annotated, batch.case_weights, batch.voxel_weights
            weights = [None if tensor is None else tensor[sample] for tensor in optional]
            with autocast(self.device, self.precision):
                outputs = self.network(batch.image[sample], len(self.loss.scales))
            losses.append(float(loss(outputs, batch.target[sample], *weights)))
        return losses

    def validation_loss(self, batch: Batch) -> float:
        """Return the loss of the network to predict with, at the full resolution, without training on the batch.

        Args:
            batch: all samples of a batch; only this process measures.
        """
        network, loss = self.best, self.loss.at_full_resolution()
        with evaluating(network), autocast(self.device, self.precision):
            outputs = network(batch.image, 1)
        weights = batch.case_weights, batch.voxel_weights
        return float(loss(outputs[:1], batch.target, batch.annotated, *weights))

    def state(self, setup: Setup, done: int) -> dict[str, Any]:
        """Return everything that the rest of the run depends on; batches depend on the seed and the step alone.

        Args:
            setup: the setup of the run.
            done: steps that are done.
        """
        return {
            "step": done,
            "progress": setup.course.progress(done - 1) if done else 0.0,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, setup: Setup, state: dict[str, Any]) -> int:
        """Take over a checkpoint's state and return the number of steps that are done.

        Args:
            setup: the setup of the run that goes on.
            state: as `state` made it, with its tensors in the host's memory.

        Raises:
            ModelError: the state belongs to another run, or to another network or optimizer.
        """
        missing = sorted(_STATE - state.keys())
        if missing:
            raise ModelError(
                f"The checkpoint in {setup.files.path} has no {', '.join(missing)}: another medseg version wrote it.",
                "Go on with that version, or delete the folder and train again.",
            )
        step = int(state["step"])
        progress = setup.course.progress(step - 1) if step > 0 else 0.0
        if not 0 <= step <= setup.course.steps or abs(state["progress"] - progress) > _ROUNDING:
            raise ModelError(
                f"The checkpoint of step {step} belongs to another run than that of {setup.course.steps} steps in "
                f"{setup.files.path}.",
                "Put the run's own checkpoint back, or delete the folder and train again.",
            )
        groups = self.optimizer.param_groups
        settings = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"The checkpoint does not fit the plan: {str(error).splitlines()[0]}") from None
        for group, planned in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(planned)  # momentum, weight decay: the plan's, which may have changed since
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_random"], self.device)
        return step

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Update the exponential moving average: over fewer steps at first, so that the start is forgotten."""
        assert self.average is not None
        decay = min(self.average_weights, (1 + step) / (10 + step))
        pairs: list[tuple[torch.Tensor, torch.Tensor]] = [
            *zip(self.average.parameters(), self.network.parameters(), strict=True)
        ]
        for averaged, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
            if averaged.is_floating_point():  # statistics of batch normalization have to fit the averaged weights
                pairs.append((averaged, current))
            else:
                averaged.copy_(current)  # counters
        torch._foreach_lerp_([pair[0] for pair in pairs], [pair[1] for pair in pairs], 1 - decay)
