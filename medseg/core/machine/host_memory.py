"""How much memory of the host this process may use: the machine's, the container's, and what ulimit leaves."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

MEMORY_ADVICE = "Close other programs, crop the scan, or take a machine with more memory."
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Limits from here on mean none: version 1 of control groups reports "no limit" as about 2^63."""


def free_host_bytes() -> float:
    """Return the bytes of memory that this process may still use: limited by the machine, the container and ulimit."""
    available = _meminfo().get("MemAvailable", inf)
    for limit, used in _cgroup_limits():
        available = min(available, limit - used)
    return max(0.0, min(available, _address_space()))


def total_host_bytes() -> float:
    """Return the bytes of the machine's memory, or the container's limit if that is lower."""
    return min([_meminfo().get("MemTotal", inf), *(limit for limit, _ in _cgroup_limits())])


def _meminfo() -> dict[str, int]:
    """Return the entries of /proc/meminfo in bytes; without /proc only the total, as what is free is not known."""
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
        return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    except OSError:
        pass
    try:
        return {"MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}
    except (AttributeError, ValueError, OSError):
        return {}


def _cgroup_limits() -> list[tuple[int, int]]:
    """Return (limit, used) in bytes of each control group around this process, versions 2 and 1.

    The limits of enclosing groups count too. Cached pages of files are not counted as used, as they can be dropped.
    """
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
        name = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
        group = _CGROUP / name
        folders = [group, *(parent for parent in group.parents if parent.is_relative_to(_CGROUP))]
    except OSError:
        folders = []
    files = [(folder, "memory.max", "memory.current") for folder in folders]  # version 2
    files.append((_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))  # version 1
    limits = []
    for folder, limit_file, usage_file in files:
        try:
            limit, usage = (folder / limit_file).read_text().strip(), int((folder / usage_file).read_text())
            stat = dict(line.split()[:2] for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if limit.isdigit() and int(limit) < _UNLIMITED:
            limits.append((int(limit), max(0, usage - int(stat.get("inactive_file", 0)))))
    return limits


def _address_space() -> float:
    """Return the bytes of address space that `ulimit -v` leaves."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return inf
        pages = int((_PROC / "self" / "statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):
        return inf
    return limit - pages * os.sysconf("SC_PAGE_SIZE")
