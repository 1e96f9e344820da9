"""A training step recorded once as a CUDA graph and then replayed, which starts all of its kernels with one call.

What torch asks of such a step (pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs"): tensors that stay where they
are, a few steps on a side stream before it is recorded, nothing that waits for the device, and an optimizer that
reads the learning rate from a tensor. The steps before the recording are real ones, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from medseg.networks.device import first_line

WARM_UP_STEPS = 3
"""As many as torch's documentation has: libraries set themselves up, cuDNN chooses algorithms, the optimizer's state
comes into being."""

Inputs = tuple[torch.Tensor | None, ...]
Step = Callable[..., torch.Tensor]


class Recorder(Protocol):
    """How steps run before they are recorded, and how they are."""

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do a step."""

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """What repeats a step that is not done now, and the tensor that will hold its answer each time.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class Recorded:
    """A step that is recorded for the shapes of its inputs; inputs of other shapes make it begin anew.

    Args:
        step: from a batch's tensors to the loss, everything that changes the network included.
        recorder: `CudaRecorder`; a test may bring its own.

    Attributes:
        note: why the step is not recorded after all, and runs as it would without this.
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
        """Do a step; the answer is a tensor of its own."""
        if self.note is not None:
            return self._step(*inputs)
        shapes = [None if one is None else (one.shape, one.dtype) for one in inputs]
        if shapes != self._shapes:
            self._shapes, self._done, self._replay = shapes, 0, None
        if self._done < WARM_UP_STEPS:
            self._done += 1
            return self._recorder.run(lambda: self._step(*inputs))
        if self._replay is None and not self._record(inputs):
            return self._step(*inputs)
        for own, one in zip(self._inputs, inputs, strict=True):
            if own is not None and one is not None:
                own.copy_(one, non_blocking=True)
        assert self._replay is not None
        self._replay()
        return self._answer.clone()

    def _record(self, inputs: Inputs) -> bool:
        self._inputs = tuple(None if one is None else one.clone() for one in inputs)
        try:
            self._replay, self._answer = self._recorder.record(lambda: self._step(*self._inputs))
        except RuntimeError as error:
            self.note = f"the step could not be recorded as a CUDA graph and runs without: {first_line(error)}"
            self._inputs = ()
        return self._replay is not None


class CudaRecorder:
    """Records on a stream of its own, on which the steps before run as well."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do a step after all that was begun before, and before all that follows."""
        here = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            answer = step()
        here.wait_stream(self._stream)
        return answer

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """Record a step while other threads, such as the one that makes batches, may go on.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.stream(self._stream),  # a recording that fails would leave its stream the current one
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            answer = step()
        return graph.replay, answer


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Have an optimizer keep its learning rates and counters on the device, where a recorded step finds them."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:
            group["capturable"] = True
