"""The number of torch's threads on a CPU: one for each physical core that this process may use.

A second thread on a core shares its arithmetic units, so convolutions gain nothing from it.
"""

from __future__ import annotations

import os
from math import floor
from pathlib import Path

import torch

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")
_SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def use_cores() -> None:
    """Set torch's threads to the physical cores, divided among the processes that torchrun started on this machine.

    Nothing is changed if the user set OMP_NUM_THREADS or MKL_NUM_THREADS. The 1 that torchrun sets by itself when it
    starts several processes does not count.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    user_settings = [os.environ[name] for name in _SET_BY_USER if name in os.environ]
    if user_settings and not (processes > 1 and user_settings == ["1"]):
        return
    torch.set_num_threads(max(1, usable_cores() // processes))


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
