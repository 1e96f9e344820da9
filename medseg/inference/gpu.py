"""The fastest way to run a network on a GPU, found by a short measurement: layouts, and CUDA graphs for small tiles."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from medseg.inference.forward import torch_forward
from medseg.inference.window_pass import Forward

_RUNS = 3
_SAME = 0.05
"""Largest difference from the plain way, as a share of the largest logit; half precision makes about 0.02."""

Make = Callable[[], Forward]


def gpu_candidates(network: torch.nn.Module, example: torch.Tensor, precision: torch.dtype) -> dict[str, Make]:
    """Ways to run a network on a batch like `example`, by name; the plain one is the first."""
    layout = torch.channels_last_3d if example.ndim == 5 else torch.channels_last

    def plain() -> Forward:
        return torch_forward(network, precision)

    def channels_last() -> Forward:
        turned = copy.deepcopy(network).to(memory_format=layout)  # type: ignore[call-overload]
        forward = torch_forward(turned, precision)
        return lambda tiles: forward(tiles.contiguous(memory_format=layout))

    return {
        "plain": plain,
        "channels last": channels_last,
        "CUDA graph": lambda: Graphed(plain(), example),
        "channels last, CUDA graph": lambda: Graphed(channels_last(), example),
    }


def fastest(candidates: Mapping[str, Make], example: torch.Tensor) -> tuple[str, Forward]:
    """The name and function of the way that is fastest on `example` and answers as the first way does.

    A way that fails, for want of memory or anything else, is left out; the first one has to work.
    """
    names = iter(candidates)
    name = next(names)
    forward = candidates[name]()
    expected = forward(example).float().clone()
    best, chosen = _seconds(forward, example), (name, forward)
    for name, other, answer in _working(candidates, names, example):
        difference = float((answer.float() - expected).abs().max())
        if difference > _SAME * float(expected.abs().max()):
            continue
        seconds = _seconds(other, example)
        if seconds < best:
            best, chosen = seconds, (name, other)
    return chosen


def _working(
    candidates: Mapping[str, Make], names: Iterator[str], example: torch.Tensor
) -> Iterator[tuple[str, Forward, torch.Tensor]]:
    for name in names:
        try:
            forward = candidates[name]()
            answer = forward(example)
        except (RuntimeError, MemoryError):  # CUDA's errors, out of memory among them, are RuntimeErrors
            continue
        yield name, forward, answer


class Graphed:
    """A forward pass that was recorded once and is replayed, which spares the launches of its kernels.

    Batches of another size than the recorded one take the plain way. One thread at a time.
    """

    def __init__(self, forward: Forward, example: torch.Tensor) -> None:
        self.forward = forward
        self.tiles = example.clone()
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
        if tiles.shape != self.tiles.shape:
            return self.forward(tiles)
        self.tiles.copy_(tiles, non_blocking=True)
        self.graph.replay()
        return self.answer


def _seconds(forward: Forward, example: torch.Tensor) -> float:
    """Median time of a pass, once warm."""
    times = []
    for _ in range(_RUNS + 1):
        _wait(example.device)
        began = time.perf_counter()
        forward(example)
        _wait(example.device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[_RUNS // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
