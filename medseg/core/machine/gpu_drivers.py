"""Whether this machine can have a GPU at all, told without torch, which takes two seconds to import."""

from __future__ import annotations

import sys
from pathlib import Path

_DEVICES = Path("/dev")
_FILES = ("nvidia*", "nvhost-*", "nvmap", "kfd", "dxg")
"""Device files through which torch reaches GPUs on Linux: NVIDIA's (those of Jetson boards too), AMD's, and Windows'
under WSL."""


def can_have_gpu(devices: Path = _DEVICES, platform: str = sys.platform) -> bool:
    """Return False where no GPU can be used, whatever torch is installed; True where torch has to be asked.

    Args:
        devices: the folder of device files.
        platform: the operating system, as `sys.platform` names it.
    """
    return platform != "linux" or any(next(devices.glob(name), None) is not None for name in _FILES)
