"""Find the fastest way to run a network on a GPU by a short measurement: memory layouts, and CUDA graphs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from medseg.inference.backends import Forward, torch_forward
from medseg.networks.cuda_graph import WARM_UP_STEPS, CudaRecorder, Recorder

_RUNS = 3
_CHECKS = 2
"""Batches that candidates are compared on: the second one shows answers that lag behind by a call."""
_LARGEST_DIFFERENCE = 0.05
"""Largest difference from the plain candidate, as a share of the largest logit; half precision alone makes 0.02."""

Make = Callable[[], Forward]


def gpu_members(
    networks: Sequence[torch.nn.Module], example: torch.Tensor, precision: torch.dtype
) -> tuple[str, list[Forward]]:
    """Return the networks as functions of tiles, in the way that is fastest for the first one, and its name.

    Args:
        networks: one per fold, of the same layers, on the GPU.
        example: a batch of tiles of the usual size, on the GPU.
        precision: in which convolutions are computed.

    Returns:
        The name of the way (`plain`, `channels last, CUDA graph` ...), and a function for each network. One that gives
        another answer in this way than in the plain one is run in the plain one, and the name says so.
    """
    first, *others = networks
    name, forward = fastest(gpu_candidates(first, example, precision), example)
    forwards, name_of_all = [forward], name
    for network in others:
        candidates = gpu_candidates(network, example, precision)
        kept, forward = fastest({way: candidates[way] for way in dict.fromkeys(("plain", name))}, example, timed=False)
        forwards.append(forward)
        name_of_all = name_of_all if kept == name else f"{name}; plain for some folds"
    return name_of_all, forwards


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

    def recorded(make: Make) -> Forward:
        return Graphed(make(), example, CudaRecorder(example.device))

    return {
        "plain": plain,
        "channels last": channels_last,
        "CUDA graph": lambda: recorded(plain),
        "channels last, CUDA graph": lambda: recorded(channels_last),
    }


def fastest(candidates: Mapping[str, Make], example: torch.Tensor, timed: bool = True) -> tuple[str, Forward]:
    """Return the name and the function of the fastest candidate that gives the same answers as the first one.

    They are compared on noise that no candidate has seen before: one that repeats an answer, or reads tiles where they
    no longer are, would agree on the tiles that it was prepared with. A candidate that fails, for lack of memory or any
    other reason, is left out; the first one has to work.

    Args:
        candidates: {name: function that prepares the candidate}.
        example: a batch of tiles of the usual size; its values are not used.
        timed: False: return the last candidate that gives the same answers, without a measurement.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(example.shape, generator=generator).to(example) for _ in range(_CHECKS)]
    (name, make), *others = candidates.items()
    forward = make()
    expected = [forward(tiles).float().clone() for tiles in batches]
    best_seconds, best = _seconds(forward, batches[0]) if timed else 0.0, (name, forward)
    for name, make in others:
        try:
            forward = make()
            agrees = all(_agrees(forward(tiles), answer) for tiles, answer in zip(batches, expected, strict=True))
            seconds = _seconds(forward, batches[0]) if timed and agrees else 0.0
        except (RuntimeError, MemoryError):  # CUDA's errors, out of memory among them, are RuntimeErrors
            continue
        if agrees and (seconds < best_seconds or not timed):
            best_seconds, best = seconds, (name, forward)
    return best


class Graphed:
    """A forward pass that is recorded once and replayed, which saves launching its kernels one by one.

    Batches of another size than the recorded one are computed without the graph. One call at a time: `Predictor` lets
    its threads take turns.

    Args:
        forward: the pass to record.
        example: a batch of tiles on the GPU.
        recorder: `CudaRecorder`; a test may bring its own.
    """

    def __init__(self, forward: Forward, example: torch.Tensor, recorder: Recorder) -> None:
        self.forward = forward
        self.tiles = example.clone()
        for _ in range(WARM_UP_STEPS):
            recorder.run(lambda: forward(self.tiles))
        self.replay, self.answer = recorder.record(lambda: forward(self.tiles))

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the logits of tiles, by replaying the graph where they have its shape; they are the caller's."""
        if tiles.shape != self.tiles.shape:
            return self.forward(tiles)
        self.tiles.copy_(tiles, non_blocking=True)
        self.replay()
        return self.answer.clone()


def _agrees(answer: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether logits are those of the plain candidate, up to rounding; what is not a number never agrees."""
    difference = float((answer.float() - expected).abs().max())
    return difference <= _LARGEST_DIFFERENCE * float(expected.abs().max())


def _seconds(forward: Forward, tiles: torch.Tensor) -> float:
    """Return the median time of a pass; the first one warms up and does not count."""
    times = []
    for _ in range(_RUNS + 1):
        _wait(tiles.device)
        start = time.perf_counter()
        forward(tiles)
        _wait(tiles.device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[_RUNS // 2]


def _wait(device: torch.device) -> None:
    """Wait until the device has done what it was given: CUDA computes asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
