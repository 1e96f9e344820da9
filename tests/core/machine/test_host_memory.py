"""What is free according to files like those of Linux."""

from pathlib import Path

import pytest

from medseg.core.machine import host_memory
from medseg.core.machine.host_memory import free_host_bytes, total_host_bytes


def test_the_container_counts_not_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path / "cgroup")
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
