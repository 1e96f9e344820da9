"""How a prediction fits into memory: planned beforehand, and reduced while it runs where memory is still short.

What is planned decides the last bits of an answer (how many tiles share a pass, and the type of the sums). The plan
therefore follows from the model's plan, the scan and the size of the machine; what happens to be free can only make a
batch smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch

from medseg.core.errors import MedsegError
from medseg.core.machine.host_memory import MEMORY_ADVICE, free_host_bytes, total_host_bytes
from medseg.networks.device import first_line, is_out_of_memory
from medseg.networks.gpu_memory import free_gpu_bytes
from medseg.plans.schema import Configuration
from medseg.plans.sections.inference import Inference

T = TypeVar("T")

HOST = torch.device("cpu")
_FEW_TILES = 2
"""Batches of a GPU are halved down to this size before the sums move to the host's memory, which is slower."""
_USABLE = 0.85
"""Share of the free memory that is counted on; the rest is for gaps between allocations and for workspaces."""
_MOST_SUMS = 1 / 8
"""Sums up to this share of the machine's memory are kept in fp32; larger ones in fp16, as always in nnU-Net."""
_FINEST_MAPS = 5.5
"""Feature maps of a U-Net's finest level that are alive at once, in multiples of that level's channels: the skip
connection (1), the upsampled map (1), both concatenated (2), the block's answer (1), and a tenth for coarser levels."""
_UNKNOWN_MAPS = 400
"""Values per voxel for networks whose layers are not known."""
_VOXELS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 23, "mps": 1 << 21}
"""Voxels that go through a network at once for `tile_batch: auto`: see `tiles_at_once`."""
_MOST_TILES = {"cpu": 16, "cuda": 128, "mps": 32}


@dataclass(frozen=True)
class Free:
    """Memory in bytes; on a processor, the device is the host.

    Attributes:
        device: free memory of the device; what torch's allocator holds in vain counts (`networks.gpu_memory`).
        host: free memory of the host.
        total: all memory of the host, or of the container.
    """

    device: float
    host: float
    total: float

    @classmethod
    def of(cls, device: torch.device) -> Free:
        """Ask the operating system and the device.

        Returns:
            Free memory of the device and of the host, and all memory of the host, in bytes.
        """
        host, total = free_host_bytes(), total_host_bytes()
        return cls(free_gpu_bytes(device) if device.type == "cuda" else host, host, total)


@dataclass(frozen=True)
class Need:
    """The memory that a prediction needs to run at full speed.

    Attributes:
        tile_batch: tiles that should go through the network at once.
        tile_bytes: memory of one tile on its way through the network, input and answer included.
        sums: function from a batch size to the number of values that are summed up at a time.
        image_bytes: memory of the preprocessed volume.
        recorded_batch: a batch size whose memory a CUDA graph holds already; 0 if there is none.
    """

    tile_batch: int
    tile_bytes: float
    sums: Callable[[int], int]
    image_bytes: int
    recorded_batch: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """How a prediction is run.

    Attributes:
        tile_batch: tiles that go through the network at once.
        sums_on_host: whether sums are kept in the host's memory, not the device's.
        sums_dtype: data type of the sums.
        image_on_host: whether tiles are cut from the volume in the host's memory.
        notes: what had to be given up for lack of memory, in sentences.
    """

    tile_batch: int
    sums_on_host: bool
    sums_dtype: torch.dtype
    image_on_host: bool
    notes: tuple[str, ...] = ()


def plan_memory(need: Need, free: Free) -> MemoryPlan:
    """Return the largest batch (up to the wanted one) that fits, with the sums on the device if they fit there too.

    Args:
        need: the memory that it needs to run at full speed.
        free: the memory that is free.
    """
    dtype = torch.float32 if 4 * need.sums(1) <= _MOST_SUMS * free.total else torch.float16
    size = torch.finfo(dtype).bits // 8
    batches = [need.tile_batch >> halvings for halvings in range(need.tile_batch.bit_length())]
    apart = free.device != free.host
    for sums_on_host, image_on_host in ((False, False), (False, True), (True, True)) if apart else ((False, False),):
        for batch in batches:
            sums, image = size * need.sums(batch), need.image_bytes
            tiles = 0 if batch == need.recorded_batch else batch * need.tile_bytes
            device = tiles + sums * (not sums_on_host) + image * (not image_on_host)
            host = sums * sums_on_host + image * image_on_host if apart else 0
            if device <= _USABLE * free.device and host <= _USABLE * free.host:
                notes = []
                if batch < need.tile_batch:
                    few = f"{batch} instead of {need.tile_batch} tiles go through the network at once."
                    notes.append(f"{gigabytes(free.device)} of memory are free: {few}")
                if sums_on_host:
                    notes.append(
                        f"{gigabytes(free.device)} of memory are free on the device: sums are kept in the host's."
                    )
                return MemoryPlan(batch, sums_on_host, dtype, image_on_host, tuple(notes))
    note = f"{gigabytes(free.host)} of memory are free, which may not be enough for this scan."
    return MemoryPlan(1, apart, dtype, apart, (note,))


class Resources:
    """What a running prediction uses: shrinks step by step when memory runs out.

    Args:
        plan: the plan to begin with.
        device: the device of the networks.

    Attributes:
        tile_batch: tiles that go through a network at once.
        sums_device: where sums are kept.
        image_device: where tiles are cut from the volume.
        sums_dtype: data type of the sums.
        notes: what was given up, in sentences.
        ran_short: whether memory was not enough for the plan.
        on_note: called with each new note.
        on_short: called when memory runs out, to give back what is not needed.
        on_move: called when `sums_device` or `image_device` has changed, to move what is there already.
    """

    def __init__(self, plan: MemoryPlan, device: torch.device) -> None:
        self.tile_batch = plan.tile_batch
        self.device = device
        self.sums_device = HOST if plan.sums_on_host else device
        self.image_device = HOST if plan.image_on_host else device
        self.sums_dtype = plan.sums_dtype
        self.notes = list(plan.notes)
        self.ran_short = False
        self.on_note: Callable[[str], None] = lambda note: None
        self.on_short: Callable[[], None] = lambda: None
        self.on_move: Callable[[], None] = lambda: None

    def attempt(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, called again with fewer resources each time that memory runs out.

        Args:
            work: reads the attributes of this object again at each call.

        Raises:
            MedsegError: there is nothing left to give up.
        """
        while True:
            try:
                return work()
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
            # outside of the handler: the traceback there keeps the memory of the failed attempt
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Reduce the use of memory by one step: smaller batches, then scan and sums on the host, then single tiles."""
        self.ran_short = True
        self.on_short()
        if self.tile_batch > _FEW_TILES or (self.tile_batch > 1 and self.sums_device == HOST):
            self.tile_batch //= 2
            self._gave_up(f"Not enough memory: now {self.tile_batch} of the tiles at once ({reason}).")
        elif self.image_device != HOST:
            self.image_to_host(reason)
        elif self.sums_device != HOST:
            self.sums_device = HOST
            self._gave_up(f"Not enough memory on the device: sums are now kept in the host's ({reason}).")
        else:
            raise MedsegError(f"There is not enough memory for a single tile: {reason}", MEMORY_ADVICE)

    def image_to_host(self, reason: str) -> None:
        """Cut tiles from the volume in the host's memory from now on.

        Args:
            reason: the message when memory ran out.
        """
        self.ran_short, self.image_device = True, HOST
        self._gave_up(f"Not enough memory on the device: the scan is now kept in the host's ({reason}).")

    def _gave_up(self, note: str) -> None:
        self.on_move()
        self.notes.append(note)
        self.on_note(note)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()


def tile_bytes(configuration: Configuration, channels: int, outputs: int, precision: torch.dtype) -> float:
    """Estimate the memory of one tile on its way through a network: maps in `precision`, input and answer in fp32.

    Args:
        configuration: says how large tiles are and how many features the network has.
        channels: the number of channels of the network's input.
        outputs: channels of its answer.
        precision: the precision of its feature maps.

    Returns:
        The memory in bytes.
    """
    voxels = prod(configuration.patch_voxels)
    features = configuration.network.features
    maps = _FINEST_MAPS * features[0] if features else _UNKNOWN_MAPS
    return voxels * (maps * torch.finfo(precision).bits / 8 + 4 * channels + 8 * outputs)


def tiles_at_once(configuration: Configuration, inference: Inference, device: torch.device) -> int:
    """Return how many tiles should go through the network at once: as planned or, for `auto`, by the tile's size.

    A processor is fastest with just enough tiles to keep its cores busy, as their feature maps then stay in its cache
    (measured in docs/prediction/inference.md); a GPU needs many voxels at once.

    Args:
        configuration: says how large a tile is.
        inference: says how many tiles, or `auto`.
        device: on which the network is computed.
    """
    if inference.tile_batch != "auto":
        return inference.tile_batch
    fitting = _VOXELS_AT_ONCE[device.type] // prod(configuration.patch_voxels)
    return max(1, min(_MOST_TILES[device.type], fitting))


def gigabytes(count: float) -> str:
    """Return a number of bytes as text.

    >>> gigabytes(1234567890)
    '1.2 GB'
    """
    return f"{count / 1e9:.1f} GB"
