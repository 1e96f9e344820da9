"""How activations lie in memory.

On a CPU they stay channels-last through the whole network (the channels of a voxel lie side by side): that is oneDNN's
layout for convolutions, so it converts nothing. `benchmarks/training/train_step.py` measures the gain.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_fast_layout(x: Tensor) -> Tensor:
    """Return an image (batch, channel, ...) in the layout that every following layer keeps: channels-last on a CPU.

    With one channel both layouts are the same bytes, and `contiguous(memory_format=...)` would leave the strides as
    they are. But layers choose their layout by the strides, so a copy has to set them.
    """
    return torch.empty_like(x, memory_format=LAYOUT[x.ndim]).copy_(x) if is_fast_here(x) else x


def is_fast_here(x: Tensor) -> bool:
    """Return whether to compute in the way of a CPU; graphs for other programs have the plain operators."""
    return x.device.type == "cpu" and not (torch.onnx.is_in_onnx_export() or torch.jit.is_tracing())
