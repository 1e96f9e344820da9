"""How many threads torch may use on a CPU: one for each physical core that this process is allowed to use."""

from __future__ import annotations

import os
from math import floor
from pathlib import Path

import torch

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")
_SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def use_cores() -> None:
    """Set torch's threads to the physical cores, shared by the processes that torchrun started on this machine.

    Where the user set OMP_NUM_THREADS nothing is changed; torchrun's own default of 1 does not count.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    wanted = [os.environ[name] for name in _SET_BY_USER if name in os.environ]
    if wanted and not (processes > 1 and wanted == ["1"]):
        return
    torch.set_num_threads(max(1, usable_cores() // processes))


def usable_cores() -> int:
    """Physical cores that this process may run on, at most as many as its container may use at once."""
    quota = container_limit(_CGROUPS)
    cores = len({_siblings(cpu) for cpu in _allowed()})
    return cores if quota is None else max(1, min(cores, floor(quota)))


def container_limit(cgroups: Path) -> float | None:
    """Processors' worth of time that the control group may use; None if it is not limited.

    Args:
        cgroups: where control groups of version 2 (`cpu.max`) or 1 (`cpu/cpu.cfs_*_us`) are mounted.
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
    """Processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    """The threads of a processor's core, as Linux lists them; the processor alone where nothing is known."""
    try:
        return (_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)
