"""Small host arrays to a device in one copy, which the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGNED = 16
_TYPES = {"float32": torch.float32, "int64": torch.int64}


def send(arrays: Sequence[NDArray], device: torch.device) -> list[torch.Tensor]:
    """The arrays (float32 or int64) as tensors on `device`.

    A device other than the CPU gets all of them as parts of one block, from memory that it can read by itself.
    """
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    starts = np.cumsum([0, *(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays)]).tolist()
    block = torch.empty(max(starts[-1], 1), dtype=torch.uint8, pin_memory=device.type == "cuda")
    memory = block.numpy()
    for array, start in zip(arrays, starts, strict=False):
        memory[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    block = block.to(device, non_blocking=True)
    return [
        block[start : start + array.nbytes].view(_TYPES[array.dtype.name]).reshape(array.shape)
        for array, start in zip(arrays, starts, strict=False)
    ]
