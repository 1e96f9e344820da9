"""Settings of this process for long computations on a CPU, which have to be made before torch is imported.

Memory: every step of a training takes and frees the same gigabytes. By default the C library gives large pieces back to
the system at once and takes them again page by page, each of which the system fills with zeros first; and pages are
small (4 KB), so that the processor keeps looking up where they lie.

Waiting: torch's threads (of GNU OpenMP) wait for the next operation in a loop of many rounds, and take the core from
whoever could use it: another program, or the threads of this one. `benchmarks/training/busy_machine.py` measures both.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 1 << 30
_SPINS = "5000"  # rounds of the loop; GNU OpenMP's own default is 300,000
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


def tune_for_training() -> None:
    """Keep freed memory for the next step, in large pages, and let waiting threads leave their core soon.

    Linux only; elsewhere nothing changes. What the user has set in the environment stays.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks for pages of 2 MB for its large tensors
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    if not any(name in os.environ for name in _SET_BY_USER):
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Tell the C library to keep what is freed; other libraries than glibc have no such option."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    # Older versions of glibc refuse more than 32 MB; only with the one option does the other help.
    if set_option is not None and any(set_option(_M_MMAP_THRESHOLD, most) for most in (_KEPT_BYTES, 32 << 20)):
        set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)
