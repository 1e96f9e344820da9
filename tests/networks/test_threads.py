"""Threads follow the cores that a process may use, and what the user said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from medseg.core.parallel import cpu_count
from medseg.networks import threads
from medseg.networks.threads import container_limit, usable_cores, use_cores


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("text", "limit"), [("max 100000", None), ("250000 100000", 2.5), ("nonsense", None)])
def test_limit_of_a_container(tmp_path: Path, text: str, limit: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert container_limit(tmp_path) == limit


@pytest.mark.parametrize(("quota", "limit"), [("-1", None), ("150000", 1.5)])
def test_limit_of_a_container_of_version_1(tmp_path: Path, quota: str, limit: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert container_limit(tmp_path) == limit
    assert container_limit(tmp_path / "cpu") is None


def test_two_threads_of_a_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu in range(4):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr(threads, "_allowed", lambda: {0, 1, 2, 3})
    assert usable_cores() == 2
    (tmp_path / "cpu.max").write_text("150000 100000")
    assert usable_cores() == 1


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    use_cores()
    assert torch.get_num_threads() == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torchrun's own default
    use_cores()
    assert torch.get_num_threads() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    use_cores()
    assert torch.get_num_threads() == 3


def test_what_the_user_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_cores()
    assert torch.get_num_threads() == 1


def test_here() -> None:
    assert 1 <= usable_cores() <= cpu_count()
