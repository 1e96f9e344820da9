"""A lock that one process at a time holds, and that ends with the process, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from medseg.core.errors import MedsegError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` as long as the block lasts; it is deleted at the end.

    A file that a killed process left behind is no lock any more. Where the file cannot be made (a folder that is not
    writable), or the file system has no locks, the block runs without.

    Args:
        what: for the message, such as `The run in runs/...`.

    Raises:
        MedsegError: another process holds it.
    """
    file = None
    with suppress(OSError):  # what cannot be written there is for those who write there to say
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _opened(path, what)
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):  # Windows deletes no open file
                path.unlink(missing_ok=True)
            os.close(file)


def open_alone(path: Path, refusal: MedsegError) -> tuple[TextIO, bool]:
    """A text file, open for appending, and whether others are kept out until it is closed or this process ends.

    Others are not kept out on Windows, where a locked file cannot be read either, and on drives without locks.

    Raises:
        MedsegError: `refusal`, if another process has it open so.
    """
    stream = path.open("a", encoding="utf-8", errors="backslashreplace")  # names may hold what is no UTF-8
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return stream, True
    except BlockingIOError:
        stream.close()
        raise refusal from None
    except (ImportError, OSError):
        return stream, False


def _opened(path: Path, what: str) -> int:
    """The lock file, opened and locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file):
                raise MedsegError(
                    f"{what} is in the hands of another process{_named(file)}.", "Wait for its end, or stop it."
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    os.ftruncate(file, 0)
                    os.write(file, f"{os.getpid()}".encode())
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder deleted it before this process had it: the next one is another file


def _named(file: int) -> str:
    """Which process, as it wrote into its lock file; on another machine the number says little."""
    try:
        number = os.pread(file, 20, 0).decode()
    except (OSError, AttributeError):  # Windows has no pread, and lets nobody read what is locked
        return ""
    return f" (number {number})" if number.isdigit() else ""


def _lock(file: int) -> bool:
    """Whether an open file could be locked; another process has it otherwise.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
