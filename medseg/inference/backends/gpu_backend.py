"""Find the fastest way to run a network on a GPU by a short measurement: memory layouts, and CUDA graphs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from medseg.inference.backends.choose import Forward, torch_forward
from medseg.networks.cuda_graph import WARM_UP_STEPS, CudaRecorder, Recorder

_RUNS = 3
_CHECKS = 2
"""Batches that candidates are compared on: the second one shows answers that lag behind by a call."""
_LARGEST_DIFFERENCE = 0.05
"""Largest difference from the plain candidate, as a share of the largest logit; half precision alone makes 0.02."""

_GRAPHS = ("CUDA graph", "channels last, CUDA graph")

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
    # Folds never run at the same time: what records one fold records all, in the same memory.
    recorders = {name: CudaRecorder(example.device) for name in _GRAPHS if example.device.type == "cuda"}
    name, forward = fastest(gpu_candidates(first, example, precision, recorders), example)
    forwards, name_of_all = [forward], name
    for network in others:
        candidates = gpu_candidates(network, example, precision, recorders)
        kept, forward = fastest({way: candidates[way] for way in dict.fromkeys(("plain", name))}, example, timed=False)
        forwards.append(forward)
        name_of_all = name_of_all if kept == name else f"{name}; plain for some folds"
    return name_of_all, forwards


def gpu_candidates(
    network: torch.nn.Module, example: torch.Tensor, precision: torch.dtype, recorders: Mapping[str, Recorder]
) -> dict[str, Make]:
    """Return ways to run a network on a GPU, by name; the plain one comes first.

    Args:
        network: on the GPU.
        example: a batch of tiles of the usual size, on the GPU.
        precision: in which convolutions are computed.
        recorders: {name of a way that replays a CUDA graph: what records it}; ways without one are left out.

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

    def recorded(make: Make, recorder: Recorder) -> Make:
        return lambda: Graphed(make(), example, recorder)

    ways = {"plain": plain, "channels last": channels_last}
    graphs = zip(_GRAPHS, ways.values(), strict=True)
    return ways | {name: recorded(make, recorders[name]) for name, make in graphs if name in recorders}


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
    # in the host's memory: to choose must not take more of the device's than to predict
    expected = [_on_host(forward(tiles)) for tiles in batches]
    best_seconds, best = _seconds(forward, batches[0]) if timed else 0.0, (name, forward)
    for name, make in others:
        tried = _tried(make, batches, expected, timed)
        if tried is not None and (tried[0] < best_seconds or not timed):
            best_seconds, best = tried[0], (name, tried[1])
    return best


def _tried(
    make: Make, batches: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], timed: bool
) -> tuple[float, Forward] | None:
    """Return the seconds of a candidate and its function; None where it fails or answers otherwise.

    Nothing of a candidate that is not taken stays alive, as the next one needs the memory.
    """
    try:
        forward = make()
        for tiles, answer in zip(batches, expected, strict=True):
            if not _agrees(_on_host(forward(tiles)), answer):
                return None
        return (_seconds(forward, batches[0]) if timed else 0.0), forward
    except (RuntimeError, MemoryError):  # CUDA's errors, out of memory among them, are RuntimeErrors
        return None


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

    def release(self) -> None:
        """Give back the memory of the graph; all batches are computed without it from now on."""
        self.tiles = self.answer = torch.empty(0)
        self.replay = lambda: None

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the logits of tiles, by replaying the graph where they have its shape; they are the caller's."""
        if tiles.shape != self.tiles.shape:
            return self.forward(tiles)
        self.tiles.copy_(tiles, non_blocking=True)
        self.replay()
        return self.answer.clone()


def _agrees(answer: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether logits equal those of the plain candidate up to rounding; NaN never agrees."""
    difference = float((answer - expected).abs().max())
    return difference <= _LARGEST_DIFFERENCE * float(expected.abs().max())


def _on_host(answer: torch.Tensor) -> torch.Tensor:
    """Return a copy of an answer in the host's memory, in float32."""
    return answer.cpu().float().clone()


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
