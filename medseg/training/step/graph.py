"""A training step that is recorded once as a CUDA graph and then replayed: one call starts all of its kernels.

Besides what torch requires of every recording (see `networks.cuda_graph`), the optimizer has to read the learning rate
from a tensor. The steps before the recording are real ones, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from medseg.networks.cuda_graph import WARM_UP_STEPS, Recorder
from medseg.networks.device import first_line

Inputs = tuple[torch.Tensor | None, ...]
Step = Callable[..., torch.Tensor]


class Recorded:
    """A step that is recorded for the shapes of its inputs; for inputs of other shapes it is recorded again.

    Args:
        step: maps a batch's tensors to the loss, everything that changes the network included.
        recorder: `CudaRecorder`; a test may bring its own.

    Attributes:
        note: why the step is not recorded after all; it then runs as it would without this class.
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step = step
        self._recorder = recorder
        self._shapes: list[tuple[torch.Size, torch.dtype] | None] = []
        self._done = 0
        self._inputs: Inputs = ()
        self._replay: Callable[[], None] | None = None
        self._answer = torch.empty(0)
        self.note: str | None = None

    def __call__(self, *inputs: torch.Tensor | None) -> torch.Tensor:
        """Make a step and return its result, a tensor that later steps leave alone."""
        if self.note is not None:
            return self._step(*inputs)
        shapes = [None if tensor is None else (tensor.shape, tensor.dtype) for tensor in inputs]
        if shapes != self._shapes:
            self._shapes, self._done, self._replay = shapes, 0, None
        if self._done < WARM_UP_STEPS:
            self._done += 1
            return self._recorder.run(lambda: self._step(*inputs))
        if self._replay is None and not self._record(inputs):
            return self._step(*inputs)
        for recorded, tensor in zip(self._inputs, inputs, strict=True):  # the graph reads where it was recorded
            if recorded is not None and tensor is not None:
                recorded.copy_(tensor, non_blocking=True)
        assert self._replay is not None
        self._replay()
        return self._answer.clone()

    def _record(self, inputs: Inputs) -> bool:
        self._inputs = tuple(None if tensor is None else tensor.clone() for tensor in inputs)
        try:
            self._replay, self._answer = self._recorder.record(lambda: self._step(*self._inputs))
        except RuntimeError as error:
            self.note = f"the step could not be recorded as a CUDA graph and runs without: {first_line(error)}"
            self._inputs = ()
        return self._replay is not None


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Make an optimizer keep its learning rates and counters on the device, where a recorded step reads them.

    Args:
        optimizer: the optimizer of `make_optimizer`.
        device: a CUDA device.
    """
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True
