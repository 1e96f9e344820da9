"""The cores that this process may use: physical ones, limited by its affinity and by its container."""

from __future__ import annotations

import os
from math import floor
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the physical cores that this process may run on, limited by the CPU quota of its container."""
    quota = container_limit(_CGROUPS)
    cores = len({_siblings(cpu) for cpu in _allowed()})
    return cores if quota is None else max(1, min(cores, floor(quota)))


def container_limit(cgroups: Path) -> float | None:
    """Return how many processors the container may use on average; None if it is not limited.

    Args:
        cgroups: folder where control groups of version 2 (`cpu.max`) or 1 (`cpu/cpu.cfs_*_us`) are mounted.
    """
    try:
        if (cgroups / "cpu.max").exists():
            quota, period = (cgroups / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _allowed() -> set[int]:
    """Return the numbers of the logical processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    """Return the logical processors of a processor's core, as Linux lists them; the processor itself if unknown."""
    try:
        return (_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)
