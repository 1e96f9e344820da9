"""The sliding window and the way back to the scan's grid on a GPU, without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_plan, network_values

from medseg.core.image import Image, Orientation
from medseg.inference import memory, window_pass
from medseg.inference.backends import gpu_backend
from medseg.inference.memory import HOST, MemoryPlan, Resources
from medseg.inference.predictor import Predictor
from medseg.inference.rolling_mean import RollingMean
from medseg.inference.tiles import View, Views, grid_of_tiles
from medseg.inference.uncertainty import stream_uncertainty
from medseg.inference.window_pass import WindowPass, predict_logits
from medseg.models.model import Model, make_network
from medseg.plans.schema import Plan
from medseg.preprocessing.restore import restore
from medseg.preprocessing.volume import Geometry

SHAPE = (20, 22, 24)
PLAIN = {"structures": {"one": 1, "two": 2}}
REGIONS = {"structures": {"all": [1, 2], "two": 2}, "activation": "sigmoid", "region_values": [1, 2]}


def plan_of(dimensions: int = 3, labels: dict[str, object] | None = None) -> Plan:
    configuration = {"patch_voxels": [16] * dimensions, "network": network_values(dimensions, 3)}
    plan = make_plan(dimensions, configuration, labels=labels or PLAIN)
    return plan.model_copy(update={"inference": plan.inference.model_copy(update={"mirror": True, "tile_batch": 4})})


@pytest.fixture(autouse=True)
def hand_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of one value are looked for in the host's memory, where here no values are; and no driver counts memory."""
    monkeypatch.setattr(window_pass, "uniform_intensities", lambda *arguments: None)
    monkeypatch.setattr(memory, "free_gpu_bytes", lambda device: 8e9)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_validation_predicts_on_the_device(cuda: torch.device, dimensions: int, precision: torch.dtype) -> None:
    plan = plan_of(dimensions)
    configuration = plan.configuration("main")
    with cuda:
        network = make_network(plan, configuration)
    logits = predict_logits([network], torch.empty(1, *SHAPE), configuration, plan.inference, precision, 3)
    assert (logits.device.type, logits.shape) == ("cpu", (3, *SHAPE))
    how = (configuration, plan.inference, precision, 3)
    labels = predict_logits([network], torch.empty(1, *SHAPE), *how, lambda slab: plan.labels.choose(slab))
    assert (labels.device.type, labels.shape) == ("cpu", SHAPE)


@pytest.mark.parametrize("sums_on_host", [False, True])
@pytest.mark.parametrize("image_on_host", [False, True])
@pytest.mark.parametrize("labels", [PLAIN, REGIONS], ids=["exclusive", "regions"])
def test_logits_come_back_to_the_grid_of_the_scan(
    cuda: torch.device, sums_on_host: bool, image_on_host: bool, labels: dict[str, object]
) -> None:
    """Two folds, sums in fp16, whatever lies in the host's memory; the way back is interpolated."""
    plan = plan_of(3, labels)
    configuration = plan.configuration("main")
    with cuda:
        networks = [make_network(plan, configuration).eval() for _ in range(2)]
    members = [window_pass.torch_forward(network, torch.float16) for network in networks]
    resources = Resources(MemoryPlan(4, sums_on_host, torch.float16, image_on_host), cuda)
    views = Views.of(SHAPE, configuration, plan.inference)
    whole = WindowPass(members, torch.empty(1, *SHAPE), views, resources)
    slabs = list(whole.logits())
    assert {slab.device.type for slab in slabs} == {"cpu" if sums_on_host else "cuda"}
    box = tuple(slice(0, 2 * size) for size in SHAPE)
    finer, coarser = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
    shape = tuple(2 * size for size in SHAPE)
    geometry = Geometry(Orientation(), (0, 1, 2), shape, box, finer, coarser)
    seen = []
    answer = restore(slabs, geometry, plan.labels, configuration, [lambda plane, logits: seen.append(logits.shape)])
    assert answer.shape == shape
    assert sum(planes for _, planes, *_ in seen) == shape[0]


def test_uncertainty_is_computed_on_the_device(cuda: torch.device) -> None:
    plan = plan_of()
    configuration = plan.configuration("main")
    with cuda:
        network = make_network(plan, configuration).eval()
    resources = Resources(MemoryPlan(4, False, torch.float32, False), cuda)
    views = Views.of(SHAPE, configuration, plan.inference)
    members = [window_pass.torch_forward(network, torch.bfloat16)]
    whole = WindowPass(members, torch.empty(1, *SHAPE), views, resources)
    slabs = list(stream_uncertainty(whole, plan.labels, lambda event: None))
    assert sum(slab.shape[1] for slab in slabs) == SHAPE[0]
    assert {(len(slab), slab.device.type) for slab in slabs} == {(4, "cuda")}


def test_sums_move_to_the_host_in_the_middle_of_a_scan(cuda: torch.device) -> None:
    plan = plan_of()
    configuration = plan.configuration("main")
    with cuda:
        network = make_network(plan, configuration).eval()
    forward, calls = window_pass.torch_forward(network, torch.bfloat16), 0

    def short(tiles: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls in (3, 4, 5, 6):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(tiles)

    resources = Resources(MemoryPlan(8, False, torch.float32, False), cuda)
    whole = WindowPass([short], torch.empty(1, *SHAPE), Views.of(SHAPE, configuration, plan.inference), resources)
    slabs = list(whole.logits())
    assert resources.sums_device == HOST
    assert sum(slab.shape[1] for slab in slabs) == SHAPE[0]
    assert slabs[-1].device == HOST
    assert np.isfinite(resources.tile_batch)


def test_a_volume_that_does_not_fit_on_the_device_is_cut_on_the_host(
    cuda: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of the whole scan is the first thing to fail; smaller batches would not help."""
    plan = plan_of()
    configuration = plan.configuration("main")
    with cuda:
        network = make_network(plan, configuration).eval()
    to, image = torch.Tensor.to, torch.empty(1, *SHAPE)

    def short(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if tensor is image:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return to(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", short)
    resources = Resources(MemoryPlan(8, False, torch.float32, False), cuda)
    views = Views.of(SHAPE, configuration, plan.inference)
    slabs = list(WindowPass([window_pass.torch_forward(network, torch.bfloat16)], image, views, resources).logits())
    assert sum(slab.shape[1] for slab in slabs) == SHAPE[0]
    assert {slab.device.type for slab in slabs} == {"cuda"}
    assert (resources.tile_batch, resources.image_device) == (8, HOST)
    assert resources.notes == [
        "Not enough memory on the device: the scan is now kept in the host's (CUDA out of memory)."
    ]


@pytest.mark.parametrize(
    ("shape", "free_gb", "batch"),
    [
        ((16, 16, 16), 8.0, 8),  # one tile in eight copies: a larger batch is never filled
        ((40, 40, 40), 8.0, 64),  # 64 tiles in eight copies
        ((40, 40, 40), 0.011, 16),  # 9.35 MB count: 16 tiles take 7.60, sums and scan 0.56; 32 tiles 15.2
    ],
)
def test_ways_are_measured_with_the_batch_that_is_planned(
    cuda: torch.device, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], free_gb: float, batch: int
) -> None:
    """A tile of 16^3 takes 4096 x (5.5 x 4 x 4 + 4 + 24) bytes, the sums of 40^3 3 x 16 x 40 x 40 x 4."""
    monkeypatch.setattr(memory, "free_gpu_bytes", lambda device: free_gb * 1e9)
    measured: list[tuple[int, ...]] = []

    def gpu_members(networks: Sequence[torch.nn.Module], example: torch.Tensor, precision: torch.dtype) -> Any:
        measured.append(tuple(example.shape))
        return "CUDA graph", [window_pass.torch_forward(network, precision) for network in networks]

    monkeypatch.setattr(gpu_backend, "gpu_members", gpu_members)
    plan = plan_of()
    plan = plan.model_copy(update={"inference": plan.inference.model_copy(update={"tile_batch": 64})})
    with cuda:
        network = make_network(plan, plan.configuration("main"))
    predictor = Predictor(Model(plan, "main", ("0",), (network,), Path()), cuda)
    volume = predictor.prepare(Image(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32), np.eye(4)))
    with predictor._passes.window_pass(volume, 3) as whole:
        assert measured == [(batch, 1, 16, 16, 16)]
        assert whole.resources.tile_batch == batch
        assert sum(slab.shape[1] for slab in whole.logits()) == shape[0]
    assert predictor._passes._recorded_batch == batch


class Sent(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the bytes that go from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        answer = function(*arguments, **(options or {}))
        if function is torch.ops.aten._to_copy.default and arguments[0].device.type == "cpu" != answer.device.type:
            self.bytes += answer.nbytes
        return answer


def test_the_weights_of_tiles_are_not_sent_to_the_device(cuda: torch.device) -> None:
    """Only the shares along each axis are, once: 5 spans of 32 voxels along z, 3 along y and x, 4 bytes each."""
    shape = (96, 64, 64)
    tiles = grid_of_tiles(shape, (32, 32, 32), 0.5, 0.125)
    means = RollingMean(2, shape, 48, torch.float16, cuda)
    values = torch.empty(2, 32, 32, 32, dtype=torch.bfloat16, device=cuda)
    with Sent() as sent:
        for tile in tiles:
            planes = sum(slab.shape[1] for slab in means.finish(tile.planes.start))
            assert planes in (0, 16)
            means.add(View(tile, (1, 3)), values, 1.0)
    assert len(tiles) == 45
    assert sent.bytes == (5 + 3 + 3) * 32 * 4
