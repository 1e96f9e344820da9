"""Memory plans by hand."""

from typing import Any

import pytest
import torch
from builders import INFERENCE, make_configuration, network_values

from medseg.core.errors import MedsegError
from medseg.inference.memory import (
    Free,
    MemoryPlan,
    Need,
    Resources,
    plan_memory,
    tile_bytes,
    tiles_at_once,
)
from medseg.inference.tiles import Views
from medseg.networks.gpu_memory import returnable_bytes
from medseg.plans.sections.inference import Inference

GB = 10**9
CPU = torch.device("cpu")


def need(tile_batch: int = 8, tile_gb: float = 1.0, sums: float = 0.25, image_gb: float = 0.0) -> Need:
    return Need(tile_batch, tile_gb * GB, lambda tiles: int(sums * GB), int(image_gb * GB))


def test_what_fits_is_done_as_asked() -> None:
    assert plan_memory(need(), Free(100 * GB, 100 * GB, 100 * GB)) == MemoryPlan(8, False, torch.float32, False)


@pytest.mark.parametrize(("free_gb", "batch"), [(11, 8), (10, 4), (5, 2), (3, 1)])
def test_batches_shrink_first(free_gb: float, batch: int) -> None:
    plan = plan_memory(need(), Free(free_gb * GB, free_gb * GB, 100 * GB))  # 1 GB of sums, 85 % of what is free
    assert (plan.tile_batch, plan.sums_on_host) == (batch, False)
    assert len(plan.notes) == (batch < 8)


def test_on_a_device_the_sums_go_to_the_host_last() -> None:
    plan = plan_memory(need(sums=2.0, image_gb=1.0), Free(2 * GB, 100 * GB, 100 * GB))
    assert (plan.tile_batch, plan.sums_on_host, plan.image_on_host) == (1, True, True)
    assert "sums are kept in the host's" in plan.notes[-1]
    assert plan_memory(need(image_gb=1.0), Free(2.5 * GB, 100 * GB, 100 * GB)).image_on_host


def test_a_scan_that_may_not_fit_is_tried_and_says_so() -> None:
    (note,) = plan_memory(need(), Free(1 * GB, 1 * GB, 100 * GB)).notes
    assert note == "1.0 GB of memory are free, which may not be enough for this scan."


@pytest.mark.parametrize(("total_gb", "dtype"), [(16, torch.float32), (7, torch.float16)])
def test_large_sums_are_kept_in_fp16_by_the_size_of_the_machine_not_by_what_is_free(
    total_gb: int, dtype: torch.dtype
) -> None:
    for free_gb in (4, 7):
        assert plan_memory(need(1), Free(free_gb * GB, free_gb * GB, total_gb * GB)).sums_dtype == dtype


@pytest.mark.parametrize(("patch", "tiles"), [([40, 56, 40], 2), ([96, 96, 96], 1), ([256, 256], 4), ([56, 40], 16)])
def test_tiles_at_once_by_their_size(patch: list[int], tiles: int) -> None:
    configuration = make_configuration(len(patch), patch_voxels=patch)
    inference = Inference.model_validate({**INFERENCE, "tile_batch": "auto"})
    assert tiles_at_once(configuration, inference, CPU) == tiles
    assert tiles_at_once(configuration, Inference.model_validate({**INFERENCE, "tile_batch": 7}), CPU) == 7


def test_this_machine_has_memory() -> None:
    free = Free.of(CPU)
    assert 0 < free.device == free.host <= free.total


def organs(voxels: tuple[int, int, int], host_gb: float, free_gb: float, recorded_batch: int = 0) -> MemoryPlan:
    """105 outputs, tiles of 128^3 half a tile apart, 32 features in bf16: a tile takes 1196 bytes a voxel, 2.51 GB."""
    configuration = make_configuration(3, patch_voxels=[128] * 3, network=network_values(3, 3, features=[32, 64, 128]))
    inference = Inference.model_validate({**INFERENCE, "tile_batch": "auto"})
    of_tile = tile_bytes(configuration, 1, 105, torch.bfloat16)
    assert of_tile == 128**3 * (5.5 * 32 * 2 + 4 * 1 + 8 * 105) == 128**3 * 1196
    views = Views.of(voxels, configuration, inference)
    plane = voxels[1] * voxels[2]
    wanted = min(tiles_at_once(configuration, inference, torch.device("cuda")), len(views))
    need = Need(wanted, of_tile, lambda tiles: 105 * views.depth(tiles) * plane, 4 * voxels[0] * plane, recorded_batch)
    return plan_memory(need, Free(free_gb * GB, 0.9 * host_gb * GB, host_gb * GB))


def test_105_structures_on_a_card_of_8_gb() -> None:
    """7.5 GB are free, of which 6.375 GB count."""
    # 2.51 GB of a tile + 3.52 GB of sums (105 x 128 planes x 256 x 256, fp32) + 0.07 GB of scan; two tiles are too much
    plan = organs((256, 256, 256), 64, 7.5)
    assert (plan.tile_batch, plan.sums_on_host, plan.image_on_host, plan.sums_dtype) == (1, False, False, torch.float32)
    assert plan.notes == ("7.5 GB of memory are free: 1 instead of 4 tiles go through the network at once.",)
    # sums of 14.1 GB are more than an eighth of the machine: fp16, 7.05 GB, on the host; two tiles are 5.02 GB
    plan = organs((600, 512, 512), 64, 7.5)
    assert (plan.tile_batch, plan.sums_on_host, plan.image_on_host, plan.sums_dtype) == (2, True, True, torch.float16)
    # a scan of a single tile: 2.51 + 0.88 + 0.01 GB, and nothing is given up
    assert organs((128, 128, 128), 64, 7.5) == MemoryPlan(1, False, torch.float32, False)
    # a card of 24 GB: four tiles (10.03 GB) and 5.28 GB of sums, as four tiles span 192 planes
    assert organs((256, 256, 256), 64, 23) == MemoryPlan(4, False, torch.float32, False)


def test_the_memory_of_a_graph_is_counted_once() -> None:
    """Of 7.5 GB a graph for one tile holds 2.51: the 5 GB that are free suffice for it, not for a pass without it."""
    assert organs((256, 256, 256), 64, 5, recorded_batch=1).tile_batch == 1
    assert not organs((256, 256, 256), 64, 5, recorded_batch=1).sums_on_host
    assert organs((256, 256, 256), 64, 5).sums_on_host


def test_what_torch_holds_in_vain_is_free_and_nothing_else() -> None:
    def segment(total: int, active: int, **more: Any) -> dict[str, Any]:
        return {"device": 1, "total_size": total, "active_size": active, "segment_pool_id": (0, 0), **more}

    unused, between_tensors = segment(1000, 0), segment(500, 20)
    of_a_graph, of_another_device = segment(64, 0, segment_pool_id=(0, 3)), segment(32, 0, device=0)
    growing = segment(300, 100, is_expandable=True)  # given back page by page
    assert returnable_bytes([unused, between_tensors, of_a_graph, of_another_device, growing], 1) == 1000 + 200


def test_what_is_given_up_and_in_which_order() -> None:
    resources, moved = Resources(MemoryPlan(4, False, torch.float32, False), torch.device("meta")), []
    resources.on_move = lambda: moved.append((resources.image_device.type, resources.sums_device.type))

    def never() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")

    with pytest.raises(MedsegError, match="not enough memory for a single tile: CUDA out of memory"):
        resources.attempt(never)
    assert [note.split(" (")[0] for note in resources.notes] == [
        "Not enough memory: now 2 of the tiles at once",
        "Not enough memory on the device: the scan is now kept in the host's",
        "Not enough memory on the device: sums are now kept in the host's",
        "Not enough memory: now 1 of the tiles at once",
    ]
    assert moved == [("meta", "meta"), ("cpu", "meta"), ("cpu", "cpu"), ("cpu", "cpu")]
    assert "\n" not in "".join(resources.notes)
