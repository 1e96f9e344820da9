"""Record work on a GPU as a CUDA graph, which starts all of its kernels by one call: training steps, forward passes.

What torch requires of such work (pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs"): tensors that stay where they
are, a few runs on a side stream before it is recorded, and nothing that waits for the device.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Protocol

import torch

WARM_UP_STEPS = 3
"""As many as in torch's documentation: libraries initialize, cuDNN chooses algorithms, optimizers make their state."""

_RECORDING = threading.Lock()
"""Held while anything is recorded: two recordings at a time would disturb each other."""


class Recorder(Protocol):
    """Runs steps before they are recorded, and records them."""

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Make a step and return its result."""

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """Record a step without making it.

        Returns:
            What repeats the step, and the tensor that holds its result each time.

        Raises:
            RuntimeError: it cannot be recorded.
        """


class CudaRecorder:
    """Records on a CUDA stream of its own, on which the steps before the recording run as well.

    All that one recorder records shares its memory: whoever replays a recording has to copy the answer before another
    one is replayed (pytorch.org/docs/stable/notes/cuda.html, "Sharing memory across captures").

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._last: Callable[[], torch.cuda.CUDAGraph | None] = lambda: None

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Make a step after everything that was started before, and before everything that follows.

        Args:
            step: to make.

        Returns:
            What the step returned.
        """
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            answer = step()
        current.wait_stream(self._stream)
        return answer

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """Record a step while other threads, such as the one that makes batches, go on; one recording at a time.

        Args:
            step: to record; it reads tensors that stay where they are.

        Returns:
            What repeats the step, and the tensor that holds its result each time.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        with (
            _RECORDING,
            torch.cuda.device(self._stream.device),  # torch.cuda.graph waits for the current device
            torch.cuda.stream(self._stream),  # a recording that fails would leave its stream the current one
        ):
            graph, last = torch.cuda.CUDAGraph(), self._last()
            pool = None if last is None else last.pool()  # once all graphs of a pool are gone, it cannot be used again
            with torch.cuda.graph(graph, pool, stream=self._stream, capture_error_mode="thread_local"):
                answer = step()
        self._last = weakref.ref(graph)  # the recording is its user's, and so is its memory
        return graph.replay, answer
