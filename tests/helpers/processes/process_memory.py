"""The memory of the process that runs the tests."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest


def resident_bytes() -> int:
    """Return the bytes that the process holds in memory, after a garbage collection; skips where they are not known."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        pytest.skip("the process's memory is read from /proc")
