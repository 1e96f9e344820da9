"""Copies small arrays of the host to a device all at once, without waiting for the copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.networks.device import to_device

_ALIGNED = 16
"""Bytes that arrays begin at multiples of, so that views of all types are allowed."""
_TYPES = {"float32": torch.float32, "int64": torch.int64}


def send(arrays: Sequence[NDArray], device: torch.device) -> list[torch.Tensor]:
    """Return arrays as tensors on a device; for a CPU, views of the arrays themselves.

    Args:
        arrays: float32 or int64.
        device: to copy them to.
    """
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    return unpack(to_device(pack(arrays, device.type == "cuda"), device), arrays)


def pack(arrays: Sequence[NDArray], pinned: bool) -> torch.Tensor:
    """Return all arrays in one block of bytes.

    Args:
        arrays: float32 or int64.
        pinned: use memory that a GPU reads while the host goes on.
    """
    block = torch.empty(_starts(arrays)[-1], dtype=torch.uint8, pin_memory=pinned)
    memory = block.numpy()
    for array, start in zip(arrays, _starts(arrays), strict=False):
        memory[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return block


def unpack(block: torch.Tensor, arrays: Sequence[NDArray]) -> list[torch.Tensor]:
    """Return views of a block, with the types and shapes of the arrays that were packed.

    Args:
        block: what `pack` returned, on any device.
        arrays: the arrays that were packed.
    """
    return [
        block[start : start + array.nbytes].view(_TYPES[array.dtype.name]).view(array.shape)
        for array, start in zip(arrays, _starts(arrays), strict=False)
    ]


def _starts(arrays: Sequence[NDArray]) -> list[int]:
    """Return where each array begins in a block, and where the block ends."""
    ends: list[int] = np.cumsum([-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays]).astype(int).tolist()
    return [0, *ends]
