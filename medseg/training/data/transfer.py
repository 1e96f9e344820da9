"""Small host arrays to a device in one copy, which the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGNED = 16
_TYPES = {"float32": torch.float32, "int64": torch.int64}


def send(arrays: Sequence[NDArray], device: torch.device) -> list[torch.Tensor]:
    """The arrays (float32 or int64) as tensors on `device`; for a CPU, the arrays themselves."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    return unpack(pack(arrays, device.type == "cuda").to(device, non_blocking=True), arrays)


def pack(arrays: Sequence[NDArray], pinned: bool) -> torch.Tensor:
    """All arrays in one block of bytes; pinned memory can be read by a GPU meanwhile."""
    block = torch.empty(_starts(arrays)[-1], dtype=torch.uint8, pin_memory=pinned)
    memory = block.numpy()
    for array, start in zip(arrays, _starts(arrays), strict=False):
        memory[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return block


def unpack(block: torch.Tensor, arrays: Sequence[NDArray]) -> list[torch.Tensor]:
    """Views of a block, of the types and shapes of the arrays that were packed."""
    return [
        block[start : start + array.nbytes].view(_TYPES[array.dtype.name]).view(array.shape)
        for array, start in zip(arrays, _starts(arrays), strict=False)
    ]


def _starts(arrays: Sequence[NDArray]) -> list[int]:
    """Where each array begins in a block, and where the block ends."""
    ends: list[int] = np.cumsum([-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays]).astype(int).tolist()
    return [0, *ends]
