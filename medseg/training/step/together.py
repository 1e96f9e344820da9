"""What processes compute together, so that none of them waits for one that is gone.

Processes that exchange tensors in the host's memory (gloo) notice by the closed connection that another one has ended,
but not always: a connection that closes between two messages can leave a wait without an end (seen with torch 2.13.0).
Each wait therefore also asks, every few seconds, whether a process is known to have failed.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from medseg.core.errors import MedsegError

FAILED = "medseg_failed"
"""Key of the store under which processes count how many of them have failed."""
_LOOK = timedelta(seconds=2)


class ProcessLost(MedsegError):
    """Another one of the processes that train together has ended without a message."""


def lost() -> ProcessLost:
    """Return the error for a process that ended without a message, as it does when the system kills it."""
    return ProcessLost(
        "Another of the processes that train together has ended without saying why; torchrun tells which, and how.",
        "Often there was not enough memory. Go on from the last checkpoint with --resume.",
    )


def add_up(tensor: torch.Tensor, store: dist.Store | None) -> None:
    """Replace a tensor in every process by its sum over all of them.

    Args:
        tensor: a part of the sum.
        store: where failed processes are counted.

    Raises:
        ProcessLost: another process has failed meanwhile.
        RuntimeError: the connection to another process is closed.
    """
    _finish(dist.all_reduce(tensor, async_op=True), tensor, store)


def send_from_first(tensor: torch.Tensor, store: dist.Store | None) -> None:
    """Replace a tensor in every process by that of the first one.

    Args:
        tensor: of the same shape and type in all processes.
        store: where failed processes are counted.

    Raises:
        ProcessLost: another process has failed meanwhile.
        RuntimeError: the connection to another process is closed.
    """
    _finish(dist.broadcast(tensor, src=0, async_op=True), tensor, store)


def _finish(work: Any, tensor: torch.Tensor, store: dist.Store | None) -> None:
    """Wait until an exchange is over; that of a GPU goes on by itself, and what follows on the GPU waits for it."""
    while not (tensor.is_cuda or work.is_completed()):
        with suppress(RuntimeError):  # the time is over, or the exchange has failed: it says so below
            work.wait(_LOOK)
        if not work.is_completed() and one_has_failed(store):
            _leave_behind(dist.group.WORLD)
            raise lost()
    work.wait()


def one_has_failed(store: dist.Store | None) -> bool:
    """Return whether a process is known to have failed; the first one keeps the store, so it has if there is none."""
    if store is None:
        return False
    try:
        return bool(store.add(FAILED, 0))
    except RuntimeError:
        return True


def _leave_behind(group: Any) -> None:
    """Let a group of processes never be destroyed: that would wait for the exchange that does not end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))
