"""The cores that a process may use."""

from pathlib import Path

import pytest

from medseg.core.machine import cores
from medseg.core.machine.cores import container_limit, usable_cores
from medseg.core.machine.parallel import cpu_count


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
    monkeypatch.setattr(cores, "_CPUS", tmp_path)
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "_allowed", lambda: {0, 1, 2, 3})
    assert usable_cores() == 2
    (tmp_path / "cpu.max").write_text("150000 100000")
    assert usable_cores() == 1


def test_here() -> None:
    assert 1 <= usable_cores() <= cpu_count()
