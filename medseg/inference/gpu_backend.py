"""Find the fastest way to run a network on a GPU by a short measurement: memory layouts, and CUDA graphs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping

import torch

from medseg.inference.backends import Forward, torch_forward

_RUNS = 3
_LARGEST_DIFFERENCE = 0.05
"""Largest difference from the plain candidate, as a share of the largest logit; half precision alone makes 0.02."""

Make = Callable[[], Forward]


def gpu_candidates(network: torch.nn.Module, example: torch.Tensor, precision: torch.dtype) -> dict[str, Make]:
    """Return ways to run a network on a GPU, by name; the plain one comes first.

    Args:
        network: on the GPU.
        example: a batch of tiles of the usual size, on the GPU.
        precision: in which convolutions are computed.

    Returns:
        {name: function that prepares the network to be run in this way}.
    """
    layout = torch.channels_last_3d if example.ndim == 5 else torch.channels_last

    def plain() -> Forward:
        return torch_forward(network, precision)

    def channels_last() -> Forward:
        converted = copy.deepcopy(network).to(memory_format=layout)  # type: ignore[call-overload]
        forward = torch_forward(converted, precision)
        return lambda tiles: forward(tiles.contiguous(memory_format=layout))

    return {
        "plain": plain,
        "channels last": channels_last,
        "CUDA graph": lambda: Graphed(plain(), example),
        "channels last, CUDA graph": lambda: Graphed(channels_last(), example),
    }


def fastest(candidates: Mapping[str, Make], example: torch.Tensor) -> tuple[str, Forward]:
    """Return the name and the function of the fastest candidate that gives the same answer as the first one.

    A candidate that fails, for lack of memory or any other reason, is left out; the first one has to work.

    Args:
        candidates: {name: function that prepares the candidate}.
        example: the batch of tiles that is measured.
    """
    names = iter(candidates)
    name = next(names)
    forward = candidates[name]()
    expected = forward(example).float().clone()
    best_seconds, best = _seconds(forward, example), (name, forward)
    for name in names:
        try:
            forward = candidates[name]()
            answer = forward(example)
        except (RuntimeError, MemoryError):  # CUDA's errors, out of memory among them, are RuntimeErrors
            continue
        difference = float((answer.float() - expected).abs().max())
        if difference > _LARGEST_DIFFERENCE * float(expected.abs().max()):
            continue
        seconds = _seconds(forward, example)
        if seconds < best_seconds:
            best_seconds, best = seconds, (name, forward)
    return best


class Graphed:
    """A forward pass that is recorded once and replayed, which saves launching its kernels one by one.

    Batches of another size than the recorded one are computed without the graph. One call at a time: `Predictor` lets
    its threads take turns.

    Args:
        forward: the pass to record.
        example: a batch of tiles on the GPU.
    """

    def __init__(self, forward: Forward, example: torch.Tensor) -> None:
        self.forward = forward
        self.tiles = example.clone()
        # a few passes on a stream of their own first, as torch's notes on CUDA graphs ask for
        stream = torch.cuda.Stream(example.device)
        stream.wait_stream(torch.cuda.current_stream(example.device))
        with torch.cuda.stream(stream):
            for _ in range(_RUNS):
                forward(self.tiles)
        torch.cuda.current_stream(example.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.answer = forward(self.tiles)

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the logits of tiles, by replaying the graph where they have its shape."""
        if tiles.shape != self.tiles.shape:
            return self.forward(tiles)
        self.tiles.copy_(tiles, non_blocking=True)
        self.graph.replay()
        return self.answer.clone()  # the next call, maybe of another thread, overwrites the recorded answer


def _seconds(forward: Forward, example: torch.Tensor) -> float:
    """Return the median time of a pass; the first one warms up and does not count."""
    times = []
    for _ in range(_RUNS + 1):
        _wait(example.device)
        start = time.perf_counter()
        forward(example)
        _wait(example.device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[_RUNS // 2]


def _wait(device: torch.device) -> None:
    """Wait until the device has done what it was given: CUDA computes asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
