"""A check for builds of torch whose 3D convolution is slow in half precision: by version, then by measuring.

torch 2.9 with cuDNN before 9.15 computes it four times slower than 2.8 did (github.com/pytorch/pytorch/issues/166122).
"""

from __future__ import annotations

import re

import torch

from medseg.networks.device import choosing_algorithms

_FIXED_CUDNN = 91500  # 9.15.0
_SLOWER = 1.1  # half precision is slow if it takes at least so many times as long as float32: more than noise
_CHANNELS = 32  # in and out, and
_SIZE = 64  # voxels along each axis: a usual convolution of a first stage
_ROUNDS = 5  # the first ones choose an algorithm; the fastest counts


def slow_convolution(device: torch.device, precision: torch.dtype, dimensions: int) -> str | None:
    """Return a warning about this build of torch; None if it is as fast as it should be, or cannot be judged.

    Args:
        device: to train on; only CUDA is judged.
        precision: in which convolutions will run.
        dimensions: 2 or 3; only 3D is judged.
    """
    if device.type != "cuda" or dimensions != 3 or precision == torch.float32:
        return None
    warning = known_to_be_slow(torch.__version__, torch.backends.cudnn.version())
    if warning is not None:
        return warning
    with torch.cuda.device(device), choosing_algorithms(device):  # events are recorded on the current device
        half, full = (_seconds(device, dtype) for dtype in (precision, torch.float32))
    if half < _SLOWER * full:
        return None
    name = str(precision).removeprefix("torch.")
    return (
        f"a 3D convolution takes {1000 * half:.1f} ms in {name} and {1000 * full:.1f} ms in float32, where it should "
        "be much faster. Try another build of torch or cuDNN; until then train with --set training.precision=fp32"
    )


def known_to_be_slow(torch_version: str, cudnn: int | None) -> str | None:
    """Return a warning about a version of torch with a version of cuDNN (91002 is 9.10.2); None if there is none."""
    if not re.match(r"2\.9\.", torch_version) or cudnn is None or cudnn >= _FIXED_CUDNN:
        return None
    number = f"{cudnn // 10000}.{cudnn // 100 % 100}"
    return (
        f"torch {torch_version} with cuDNN {number} computes 3D convolutions in half precision about four times slower "
        "than other versions: install torch 2.10 or later, or nvidia-cudnn-cu12>=9.15"
    )


def _seconds(device: torch.device, dtype: torch.dtype) -> float:
    """Return the seconds of a convolution, forward and backward, on the current device, with the algorithm chosen."""
    convolution = torch.nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1, device=device, dtype=dtype)
    image = torch.randn(1, _CHANNELS, _SIZE, _SIZE, _SIZE, device=device, dtype=dtype, requires_grad=True)
    times = []
    for _ in range(_ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        convolution(image).sum().backward()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return min(times)
