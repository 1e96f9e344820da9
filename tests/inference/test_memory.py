"""Memory plans by hand, and what is free according to files like those of Linux."""

from pathlib import Path

import pytest
import torch
from builders import INFERENCE, make_configuration

from medseg.inference import memory
from medseg.inference.memory import (
    Free,
    MemoryPlan,
    Need,
    free_host_bytes,
    plan_memory,
    tiles_at_once,
    total_host_bytes,
)
from medseg.plans.sections import Inference

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


def test_the_container_counts_not_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  64000 kB\nMemFree: 1 kB\nMemAvailable:  50000 kB\n")
    assert (total_host_bytes(), free_host_bytes()) == (64000 * 1024, 50000 * 1024)
    inner = tmp_path / "cgroup" / "job" / "step"
    inner.mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/job/step\n")
    for folder, most, used in ((inner, "max", 5), (inner.parent, "30000000", 12000000)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 9000000\ninactive_file 2000000\n")
    assert (total_host_bytes(), free_host_bytes()) == (30000000, 20000000)


def test_this_machine_has_memory() -> None:
    free = Free.of(CPU)
    assert 0 < free.device == free.host <= free.total
