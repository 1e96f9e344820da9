"""Decides where the training cases lie: on the GPU if they fit, else in their cache files.

Cache files are memory-mapped. A patch reads only the pages that it touches, and the operating system keeps them as long
as there is memory. So a data set that is larger than memory trains in bounded memory, one that fits is read once, and
processes on one machine share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from medseg.preprocessing.cache import Sample

_GPU_SHARE = 0.5
"""Share of a GPU's free memory that cases may fill; the network, its gradients and feature maps need the rest."""


def place_samples(samples: Sequence[Sample], device: torch.device, free_bytes: float) -> tuple[list[Sample], str]:
    """Return the samples where they are trained from, and a note on where that is.

    Args:
        samples: training cases, mapped from their cache files.
        device: to train on.
        free_bytes: bytes of the host's memory that may still be used.
    """
    size = sum(_bytes(sample) for sample in samples)
    if device.type == "cuda":
        free_on_gpu, _ = torch.cuda.mem_get_info(device)
        if size <= free_on_gpu * _GPU_SHARE:
            return [_moved(sample, device) for sample in samples], f"training cases: {_gigabytes(size)}, on the GPU"
    if size <= free_bytes:
        return list(samples), f"training cases: {_gigabytes(size)}, in memory once read"
    return list(samples), (
        f"training cases: {_gigabytes(size)}, read from the cache as needed, as {_gigabytes(free_bytes)} of memory are "
        "free; a fast local disk for the workspace, or more memory, would spare the waiting"
    )


def _bytes(sample: Sample) -> int:
    return sum(tensor.nbytes for tensor in (sample.image, sample.label, sample.previous) if tensor is not None)


def _moved(sample: Sample, device: torch.device) -> Sample:
    previous = None if sample.previous is None else sample.previous.to(device)
    return replace(sample, image=sample.image.to(device), label=sample.label.to(device), previous=previous)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2g} GB"
