"""How much memory is left, and how a prediction fits into it: planned before it begins.

What is planned decides the answer's last bits (how many tiles share a pass, what sums are kept in). So these follow
from the plan, the scan and the machine's size, and what happens to be free only ever makes a batch smaller.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path

import torch

from medseg.plans.schema import Configuration
from medseg.plans.sections import Inference

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_USABLE = 0.85
"""Share of what is free that is counted on; the rest is for allocators' gaps and workspaces."""
_MOST_SUMS = 1 / 8
"""Share of a machine's memory up to which sums are kept in fp32; larger ones in fp16, as nnU-Net always does."""
_FINEST_MAPS = 5.5
"""Feature maps of a U-Net's finest level that are alive at once: skip, upsampled, both joined, and the answer, twice
the first's channels; coarser skips add about a tenth of that."""
_UNKNOWN_MAPS = 400
"""Values a voxel for networks whose layers are not known."""
_VOXELS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 23, "mps": 1 << 21}
_MOST_TILES = {"cpu": 16, "cuda": 128, "mps": 32}


@dataclass(frozen=True)
class Free:
    """Bytes that may still be used, and those that the machine (or its container) has in all.

    On a processor the device is the host.
    """

    device: float
    host: float
    total: float

    @classmethod
    def of(cls, device: torch.device) -> Free:
        """What this machine says now."""
        host = free_host_bytes()
        if device.type != "cuda":
            return cls(host, host, total_host_bytes())
        free, total = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return cls(free + cached, host, total)


@dataclass(frozen=True)
class Need:
    """What a prediction asks for.

    Attributes:
        tile_batch: tiles that should go through the network at once.
        tile_bytes: of one tile on its way through the network, input and answer included.
        sums: (tiles at once) -> values that are summed up at a time.
        image_bytes: of the preprocessed volume.
    """

    tile_batch: int
    tile_bytes: float
    sums: Callable[[int], int]
    image_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """How a prediction is run.

    Attributes:
        tile_batch: tiles that go through the network at once.
        sums_on_host: sums are kept in the host's memory, not the device's.
        sums_dtype: what they are kept in.
        image_on_host: tiles are cut from the volume in the host's memory.
        notes: what had to be given up for memory, a sentence each.
    """

    tile_batch: int
    sums_on_host: bool
    sums_dtype: torch.dtype
    image_on_host: bool
    notes: tuple[str, ...] = ()


def plan_memory(need: Need, free: Free) -> MemoryPlan:
    """The largest batch up to the one asked for that fits, with sums on the device if they fit there with it."""
    dtype = torch.float32 if 4 * need.sums(1) <= _MOST_SUMS * free.total else torch.float16
    size = torch.finfo(dtype).bits // 8
    batches = [need.tile_batch >> halvings for halvings in range(need.tile_batch.bit_length())]
    apart = free.device != free.host
    for sums_on_host, image_on_host in ((False, False), (False, True), (True, True)) if apart else ((False, False),):
        for batch in batches:
            sums, image = size * need.sums(batch), need.image_bytes
            device = batch * need.tile_bytes + sums * (not sums_on_host) + image * (not image_on_host)
            host = sums * sums_on_host + image * image_on_host if apart else 0
            if device <= _USABLE * free.device and host <= _USABLE * free.host:
                notes = _notes(need, batch, sums_on_host, free)
                return MemoryPlan(batch, sums_on_host, dtype, image_on_host, notes)
    note = f"{gigabytes(free.host)} of memory are free, which may not be enough for this scan."
    return MemoryPlan(1, apart, dtype, apart, (note,))


def _notes(need: Need, batch: int, sums_on_host: bool, free: Free) -> tuple[str, ...]:
    there = f"{gigabytes(free.device)} of memory are free"
    notes = []
    if batch < need.tile_batch:
        notes.append(f"{there}: {batch} instead of {need.tile_batch} tiles go through the network at once.")
    if sums_on_host:
        notes.append(f"{there} on the device: sums are kept in the host's.")
    return tuple(notes)


def tile_bytes(configuration: Configuration, channels: int, outputs: int, precision: torch.dtype) -> float:
    """About what one tile takes while it goes through a network: maps in `precision`, input and answer in fp32."""
    voxels = prod(configuration.patch_voxels)
    features = configuration.network.features
    maps = _FINEST_MAPS * features[0] if features else _UNKNOWN_MAPS
    return voxels * (maps * torch.finfo(precision).bits / 8 + 4 * channels + 8 * outputs)


def tiles_at_once(configuration: Configuration, inference: Inference, device: torch.device) -> int:
    """Tiles that should go through the network at once: what the plan says or, for `auto`, by the tile's size.

    A processor is fastest with as few as keep its cores busy, as their maps then stay in its cache (measured in
    docs/inference.md); a GPU wants many voxels at once.
    """
    if inference.tile_batch != "auto":
        return inference.tile_batch
    fitting = _VOXELS_AT_ONCE[device.type] // prod(configuration.patch_voxels)
    return max(1, min(_MOST_TILES[device.type], fitting))


def free_host_bytes() -> float:
    """Bytes of the host's memory that this process may still use: of the machine, its container and its limits."""
    available = _meminfo().get("MemAvailable", inf)
    for limit, used in _cgroup_limits():
        available = min(available, limit - used)
    return max(0.0, min(available, _address_space()))


def total_host_bytes() -> float:
    """Bytes of the host's memory: the machine's, or the container's limit."""
    return min([_meminfo().get("MemTotal", inf), *(limit for limit, _ in _cgroup_limits())])


def gigabytes(count: float) -> str:
    """1234567890 as '1.2 GB'."""
    return f"{count / 1e9:.1f} GB"


def _meminfo() -> dict[str, int]:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return _sysconf()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


def _sysconf() -> dict[str, int]:
    """The machine's size where there is no /proc; how much of it is free is not known."""
    try:
        return {"MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}
    except (AttributeError, ValueError, OSError):
        return {}


def _cgroup_limits() -> list[tuple[int, int]]:
    """(limit, used) of the container, versions 2 and 1; pages of files in use count as free."""
    found = []
    names = ("memory.max", "memory.current")
    places = [(folder, *names) for folder in _own_cgroup()]
    for folder, limit, used in (*places, (_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
            stat = dict(line.split()[:2] for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if most.isdigit() and int(most) < _UNLIMITED:
            cached = int(stat.get("inactive_file", 0))
            found.append((int(most), max(0, now - cached)))
    return found


def _own_cgroup() -> list[Path]:
    """The folder of this process's group (version 2), and those of the groups around it, whose limits count too."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder = _CGROUP / own
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(_CGROUP))]


def _address_space() -> float:
    """What `ulimit -v` leaves."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return inf
        pages = int((_PROC / "self" / "statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):
        return inf
    return limit - pages * os.sysconf("SC_PAGE_SIZE")
