"""Decides where the training cases lie: on the GPU as long as they fit, else in their cache files.

Cache files are memory-mapped. A patch reads only the pages that it touches, and the operating system keeps them as long
as there is memory. So a data set that is larger than memory trains in bounded memory, one that fits is read once, and
processes on one machine share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import torch

from medseg.networks.gpu_memory import free_gpu_bytes
from medseg.preprocessing.cache import Sample

_USABLE = 0.85
"""Share of a GPU's free memory that is counted on; the rest is for gaps between allocations and for workspaces."""


class PlacedSamples(Sequence[Sample]):
    """Training cases that lie on a GPU as long as there is room for them.

    Args:
        on_host: the cases, mapped from their cache files.
        on_device: the same cases on the GPU.

    Attributes:
        on_host: as above.
        note: where the cases went when memory ran out; None while they are where they were put.
    """

    def __init__(self, on_host: Sequence[Sample], on_device: Sequence[Sample]) -> None:
        self.on_host = list(on_host)
        self._samples = list(on_device)
        self.note: str | None = None

    def to_host(self, reason: str) -> bool:
        """Take the cases off the GPU, if they are there.

        Args:
            reason: the message when memory ran out.

        Returns:
            Whether they were on the GPU. Batches are the same wherever cases lie.
        """
        if self.note is not None:
            return False
        self._samples = self.on_host
        self.note = f"not enough memory on the GPU: training cases are now read from the cache ({reason})"
        return True

    def __len__(self) -> int:
        return len(self.on_host)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        return self._samples[index]


def place_samples(
    samples: Sequence[Sample], device: torch.device, free_bytes: float, planned_gb: float
) -> tuple[Sequence[Sample], str]:
    """Return the samples where they are trained from, and a note on where that is.

    Args:
        samples: training cases, mapped from their cache files.
        device: to train on.
        free_bytes: bytes of the host's memory that may still be used.
        planned_gb: GPU memory that the plan lets network and batch take, in GB.
    """
    size = sum(_bytes(sample) for sample in samples)
    if device.type == "cuda" and size <= room_for_samples(free_gpu_bytes(device), planned_gb):
        moved = _on_device(samples, device)
        if moved is not None:
            return PlacedSamples(samples, moved), f"training cases: {_gigabytes(size)}, on the GPU"
    if size <= free_bytes:
        return list(samples), f"training cases: {_gigabytes(size)}, in memory once read"
    return list(samples), (
        f"training cases: {_gigabytes(size)}, read from the cache as needed, as {_gigabytes(free_bytes)} of memory are "
        "free; a fast local disk for the workspace, or more memory, would spare the waiting"
    )


def room_for_samples(free_bytes: float, planned_gb: float) -> float:
    """Return the bytes of a GPU that cases may fill: what network and batch leave, which were planned first.

    Args:
        free_bytes: free memory of the GPU.
        planned_gb: GPU memory that the plan lets network and batch take, in GB.

    >>> room_for_samples(24e9, planned_gb=8) / 1e9
    12.4
    >>> room_for_samples(7.5e9, planned_gb=8)
    0.0
    """
    return max(0.0, _USABLE * free_bytes - planned_gb * 1e9)


def _on_device(samples: Sequence[Sample], device: torch.device) -> list[Sample] | None:
    """Return the samples on a GPU; None where its memory does not suffice after all."""
    try:
        return [_moved(sample, device) for sample in samples]
    except torch.OutOfMemoryError:
        return None


def _bytes(sample: Sample) -> int:
    tensors = (sample.image, sample.label, sample.previous, sample.weight_offsets)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _moved(sample: Sample, device: torch.device) -> Sample:
    previous, offsets = (
        None if tensor is None else tensor.to(device) for tensor in (sample.previous, sample.weight_offsets)
    )
    image, label = sample.image.to(device), sample.label.to(device)
    return replace(sample, image=image, label=label, previous=previous, weight_offsets=offsets)


def _gigabytes(count: float) -> str:
    """Return a number of bytes in GB; in MB if it is less than 0.1 GB.

    >>> _gigabytes(2.3e5), _gigabytes(7.5e9)
    ('0.23 MB', '7.5 GB')
    """
    return f"{count / 1e9:.2g} GB" if count >= 1e8 else f"{count / 1e6:.2g} MB"
