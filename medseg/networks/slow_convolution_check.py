"""Builds of torch whose 3D convolution is slow in half precision, found by version and by a look at the clock.

torch 2.9 with cuDNN before 9.15 computes it four times slower than 2.8 did (github.com/pytorch/pytorch/issues/166122).
"""

from __future__ import annotations

import re

import torch

_FIXED_CUDNN = 91500
_SLOWER = 1.1
_CHANNELS = 32
_SIZE = 64
_ROUNDS = 5


def slow_convolution(device: torch.device, precision: torch.dtype, dimensions: int) -> str | None:
    """What to tell of this build of torch, or None if it is as fast as it should be or nobody can know."""
    if device.type != "cuda" or dimensions != 3 or precision == torch.float32:
        return None
    told = known_to_be_slow(torch.__version__, torch.backends.cudnn.version())
    if told is not None:
        return told
    half, full = (_seconds(device, kind) for kind in (precision, torch.float32))
    if half < _SLOWER * full:
        return None
    name = str(precision).removeprefix("torch.")
    return (
        f"a 3D convolution takes {1000 * half:.1f} ms in {name} and {1000 * full:.1f} ms in float32, where it should "
        "be much faster: another build of torch or cuDNN may be, and training.precision=fp32 is until then"
    )


def known_to_be_slow(torch_version: str, cudnn: int | None) -> str | None:
    """What to tell of a version of torch with a version of cuDNN (91002 is 9.10.2)."""
    if not re.match(r"2\.9\.", torch_version) or cudnn is None or cudnn >= _FIXED_CUDNN:
        return None
    there = f"{cudnn // 10000}.{cudnn // 100 % 100}"
    return (
        f"torch {torch_version} with cuDNN {there} computes 3D convolutions in half precision about four times slower "
        "than other versions: install torch 2.10 or later, or nvidia-cudnn-cu12>=9.15"
    )


def _seconds(device: torch.device, kind: torch.dtype) -> float:
    """Time of one convolution, forward and backward, once cuDNN has chosen how."""
    convolution = torch.nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1, device=device, dtype=kind)
    image = torch.randn(1, _CHANNELS, _SIZE, _SIZE, _SIZE, device=device, dtype=kind, requires_grad=True)
    times = []
    for _ in range(_ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        convolution(image).sum().backward()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return min(times)
