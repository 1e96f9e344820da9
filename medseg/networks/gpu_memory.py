"""The GPU memory that this process may still use; prediction and training plan with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

_GENERAL_POOL = (0, 0)
"""The pool of torch's allocator for everything but CUDA graphs, which have pools of their own."""


def free_gpu_bytes(device: torch.device) -> float:
    """Return the bytes that the driver has, and those that torch's allocator holds and would give back to it.

    Args:
        device: a CUDA device.
    """
    free, _ = torch.cuda.mem_get_info(device)
    number = torch.cuda.current_device() if device.index is None else device.index
    return float(free + returnable_bytes(torch.cuda.memory_snapshot(), number))


def returnable_bytes(segments: Iterable[Mapping[str, Any]], device: int) -> int:
    """Return the bytes that torch's allocator holds on a device and gives back before it reports that memory ran out.

    That are segments without a single tensor. What is free between tensors does not count: it serves small requests
    only, and no request may fit. Nor does the memory of a CUDA graph, which nothing but that graph may use.

    Args:
        segments: what `torch.cuda.memory_snapshot` returns.
        device: the number of the device.

    >>> segment = {"device": 0, "total_size": 100, "active_size": 0, "segment_pool_id": (0, 0)}
    >>> returnable_bytes([segment, {**segment, "active_size": 1}, {**segment, "segment_pool_id": (0, 1)}], 0)
    100
    """
    total = 0
    for segment in segments:
        general = tuple(segment.get("segment_pool_id", _GENERAL_POOL)) == _GENERAL_POOL
        if segment["device"] != device or not general:
            continue
        if segment["active_size"] == 0:
            total += segment["total_size"]
        elif segment.get("is_expandable"):  # given back page by page
            total += segment["total_size"] - segment["active_size"]
    return total
