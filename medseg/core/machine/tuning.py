"""Settings of this process for long computations on a CPU, which have to be made before torch is imported.

Memory: every step of a training takes and frees the same gigabytes. By default the C library gives large pieces back to
the system at once and takes them again page by page, each of which the system fills with zeros first; and pages are
small (4 KB), so that the processor keeps looking up where they lie. torch can ask for large pages, too, tensor by
tensor (`THP_MEM_ALLOC_ENABLE`); asking for all of the memory at once is quicker (docs/benchmarks/speed.md), and that
is the way where it cannot be asked for.

Waiting: torch's threads (of GNU OpenMP) wait for the next operation in a loop of many rounds, and take the core from
whoever could use it: another program, or the threads of this one. `benchmarks/training/busy_machine.py` measures both.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_MADV_HUGEPAGE = 14  # of Linux
_MOST = (1 << 31) - 1  # of glibc's options
_LARGEST_KEPT = 1 << 30  # single pieces of memory above it go back to the system
_RESERVED_BYTES = 2000 << 20  # of addresses, most of which take no memory until they are used; below `_MOST`: they stay
_FIRST_BYTES = 8 << 20  # more than the C library has at hand when a program starts, so that it takes what is reserved
_USUAL_TOP_PAD = 128 << 10  # glibc's
_SPINS = "5000"  # rounds of the loop; GNU OpenMP's own default is 300,000
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def tune_for_training() -> None:
    """Keep freed memory for the next step, in large pages, and let waiting threads leave their core soon.

    Linux only; elsewhere nothing changes. What the user has set in the environment stays.
    """
    if sys.platform != "linux":
        return
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    library = ctypes.CDLL(None)
    obtained = False
    if hasattr(library, "mallopt") and not any(name in os.environ for name in _SET_BY_USER):
        _keep_freed_memory(library)
        if "THP_MEM_ALLOC_ENABLE" not in os.environ and _may_take_addresses():
            obtained = _use_large_pages(library)
    if not obtained:
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def give_back_freed_memory() -> None:
    """Give the system what was kept for the next step, when there is none: it counts as used until then."""
    if sys.platform == "linux":
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if give_back is not None:
            give_back(0)


def _keep_freed_memory(library: ctypes.CDLL) -> None:
    """Tell the C library to keep what is freed; other libraries than glibc have no such option."""
    # Older versions of glibc refuse more than 32 MB; only with the one option does the other help.
    if any(library.mallopt(_M_MMAP_THRESHOLD, most) for most in (_LARGEST_KEPT, 32 << 20)):
        library.mallopt(_M_TRIM_THRESHOLD, _MOST)


def _may_take_addresses() -> bool:
    """Return whether addresses are free: not where `ulimit` or a cluster's job has a limit on them."""
    import resource

    limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return sys.maxsize > _MOST and all(soft == resource.RLIM_INFINITY for soft, _ in limits)


def _use_large_pages(library: ctypes.CDLL) -> bool:
    """Let the C library take a range of addresses, and ask the system to fill it with pages of 2 MB where it can.

    Returns:
        Whether the range was obtained: not where the C library had enough memory already, or may not have so much.
    """
    library.sbrk.restype = library.malloc.restype = ctypes.c_void_p
    library.sbrk.argtypes = [ctypes.c_ssize_t]
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    before = library.sbrk(0)
    library.mallopt(_M_TOP_PAD, _RESERVED_BYTES)
    first = library.malloc(_FIRST_BYTES)
    library.mallopt(_M_TOP_PAD, _USUAL_TOP_PAD)
    start, end = (address // mmap.PAGESIZE * mmap.PAGESIZE for address in (before, library.sbrk(0)))
    obtained = end - start >= _RESERVED_BYTES and library.madvise(start, end - start, _MADV_HUGEPAGE) == 0
    if first is not None:
        library.free(first)
    return obtained
