"""Locks that one process at a time can hold, and that end with the process, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from medseg.core.errors import MedsegError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs, and delete it at the end.

    A lock file that a killed process left behind locks nothing. If the file cannot be made (the folder is not writable)
    or the file system has no locks, the block runs unlocked.

    Args:
        path: the lock file; its folder is made if it is missing.
        what: what the lock protects, as the subject of the error message, such as `The run in runs/...`.

    Raises:
        MedsegError: another process holds the lock; the message names the process.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, fallback_to_soft=False)
    with suppress(OSError):  # a folder that is not writable is reported by the code that writes its results there
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise MedsegError(
                f"{what} is in use by another process{_holder(path)}.", "Wait until it ends, or stop it."
            ) from None
        path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # Windows deletes no open file
                path.unlink()  # while it is held: a process that waits for this inode sees that it is gone
            lock.release()


def open_alone(path: Path, refusal: MedsegError) -> tuple[TextIO, bool]:
    """Open a text file for appending and, where possible, keep other processes from opening it the same way.

    The lock is on the file itself, so that no second file lies beside it. On Windows, where a locked file cannot be
    read either, and on drives without locks, others are not kept out.

    Args:
        path: the file, made if it is missing.
        refusal: the error to raise if another process has the file open.

    Returns:
        The open file, and whether others are kept out until it is closed or this process ends.

    Raises:
        MedsegError: `refusal`.
    """
    stream = path.open("a", encoding="utf-8", errors="backslashreplace")  # file names may hold bytes that are not UTF-8
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return stream, True
    except BlockingIOError:
        stream.close()
        raise refusal from None
    except (ImportError, OSError):
        return stream, False


def _holder(path: Path) -> str:
    """Return which process holds the lock, as it wrote into its file; on another machine the number says little."""
    try:
        number = path.read_text()
    except OSError:  # on Windows nobody can read a locked file
        return ""
    return f" (process {number})" if number.isdigit() else ""
