"""How the fastest way is chosen, which needs no GPU to be seen; and on a GPU, that all ways agree."""

from collections.abc import Callable

import pytest
import torch
from builders import make_configuration

from medseg.inference.backends import gpu_backend
from medseg.inference.backends.choose import torch_forward
from medseg.inference.backends.gpu_backend import Graphed, fastest, gpu_candidates
from medseg.networks.cuda_graph import CudaRecorder
from medseg.networks.table import build_network

EXAMPLE = torch.ones(2, 1, 4, 4)


class Clock:
    """A clock that only the slow ways move on."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


CLOCK = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "gpu" not in request.keywords:
        monkeypatch.setattr(gpu_backend.time, "perf_counter", CLOCK)


def slow(tiles: torch.Tensor) -> torch.Tensor:
    CLOCK.seconds += 0.05
    return tiles * 2


def test_the_fastest_that_agrees_is_taken() -> None:
    candidates = {
        "plain": lambda: slow,
        "wrong": lambda: lambda tiles: tiles * 3,
        "right": lambda: lambda tiles: tiles + tiles,
    }
    name, forward = fastest(candidates, EXAMPLE)
    assert name == "right"
    assert torch.equal(forward(EXAMPLE), 2 * EXAMPLE)


class Recorder:
    """Repeats a pass into the tensor that it answered with, as a CUDA graph does; or, if `broken`, repeats nothing."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        return step()

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        answer = step().clone()
        return (lambda: None if self.broken else answer.copy_(step())), answer


@pytest.mark.parametrize("broken", [False, True])
def test_a_graph_that_repeats_nothing_is_not_taken(broken: bool) -> None:
    """It agrees on the tiles that it was recorded with, and is by far the fastest."""

    def plain(tiles: torch.Tensor) -> torch.Tensor:
        CLOCK.seconds += 0.002
        return tiles * 2

    def quick(tiles: torch.Tensor) -> torch.Tensor:
        return tiles * 2

    example = torch.zeros(2, 1, 4, 4)
    candidates = {"plain": lambda: plain, "graph": lambda: Graphed(quick, example, Recorder(broken))}
    name, forward = fastest(candidates, example)
    assert name == ("plain" if broken else "graph")
    first, second = forward(EXAMPLE), forward(3 * EXAMPLE)
    assert torch.equal(first, 2 * EXAMPLE)
    assert torch.equal(second, 6 * EXAMPLE)


def test_an_answer_that_is_no_number_agrees_with_none() -> None:
    candidates = {"plain": lambda: slow, "overflows": lambda: lambda tiles: tiles * torch.nan}
    assert fastest(candidates, EXAMPLE)[0] == "plain"


def test_without_a_measurement_the_way_is_checked_all_the_same() -> None:
    candidates = {"plain": lambda: slow, "graph": lambda: lambda tiles: tiles * 2}
    assert fastest(candidates, EXAMPLE, timed=False)[0] == "graph"
    assert fastest({**candidates, "graph": lambda: lambda tiles: tiles * 3}, EXAMPLE, timed=False)[0] == "plain"


def test_ways_that_fail_are_left_out() -> None:
    def fails():
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def too_large(tiles: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    name, _ = fastest({"plain": lambda: slow, "graph": fails, "layout": lambda: too_large}, EXAMPLE)
    assert name == "plain"


def make_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(make_configuration(3), 1, 3).eval()


def test_channels_last_agrees_without_a_gpu_too() -> None:
    tiles = torch.randn(1, 1, 16, 16, 16)
    candidates = gpu_candidates(make_network(), tiles, torch.float32, {})
    plain, layout = candidates["plain"](), candidates["channels last"]()
    torch.testing.assert_close(layout(tiles), plain(tiles), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_every_way_agrees_on_a_gpu(precision: torch.dtype) -> None:
    network, tiles = make_network(), torch.randn(2, 1, 16, 16, 16)
    expected = torch_forward(network, torch.float32)(tiles)
    example = torch.zeros(2, 1, 16, 16, 16, device="cuda")
    recorders = dict.fromkeys(("CUDA graph", "channels last, CUDA graph"), CudaRecorder(example.device))
    for name, make in gpu_candidates(network.cuda(), example, precision, recorders).items():
        forward = make()
        for part, reference in ((tiles, expected), (tiles[:1], expected[:1])):
            answer = forward(part.cuda()).float().cpu()
            difference = float((answer - reference).norm() / reference.norm())
            assert difference < (1e-3 if precision == torch.float32 else 0.02), name
