"""The sliding window and the way back to the scan's grid on a GPU, without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import make_plan, network_values

from medseg.core.image import Orientation
from medseg.inference import window_pass
from medseg.inference.memory import HOST, MemoryPlan, Resources
from medseg.inference.tiles import Views
from medseg.inference.uncertainty import stream_uncertainty
from medseg.inference.window_pass import WindowPass, predict_logits
from medseg.models.model import make_network
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
def no_look_at_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of one value are looked for in the host's memory, where here no values are."""
    monkeypatch.setattr(window_pass, "uniform_intensities", lambda *arguments: None)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_validation_predicts_on_the_device(cuda: torch.device, dimensions: int, precision: torch.dtype) -> None:
    plan = plan_of(dimensions)
    configuration = plan.configuration("main")
    with cuda:
        network = make_network(plan, configuration)
    logits = predict_logits([network], torch.empty(1, *SHAPE), configuration, plan.inference, precision)
    assert (logits.device.type, logits.shape) == ("cuda", (3, *SHAPE))


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
        if calls in (3, 4, 5):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(tiles)

    resources = Resources(MemoryPlan(8, False, torch.float32, False), cuda)
    whole = WindowPass([short], torch.empty(1, *SHAPE), Views.of(SHAPE, configuration, plan.inference), resources)
    slabs = list(whole.logits())
    assert resources.sums_device == HOST
    assert sum(slab.shape[1] for slab in slabs) == SHAPE[0]
    assert slabs[-1].device == HOST
    assert np.isfinite(resources.tile_batch)
