"""Write files and folders so that none is ever half-written (a temporary one beside the target, then a rename).

What a killed command leaves is a temporary file or folder that no process holds any more. Whoever writes the same
target next removes it, and folders that are medseg's own are cleared of all of them (`remove_temporaries`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from medseg.core.errors import DataError, MedsegError

try:
    import fcntl
except ImportError:  # Windows, where nobody can delete a file while another process has it open
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.(.+)", re.DOTALL)
NEXT = ".next."
"""Before the name of a folder with files that are whole, and yet to be moved into that around it: `core.replacing`."""
_OLD_SECONDS = 24 * 3600
"""Where there are no locks (some network drives), temporary files are taken for abandoned after this time."""

_leftovers: dict[str, dict[str, list[Path]]] = {}
"""Folder -> {name of the target: temporary ones that lay there when this process first wrote into the folder}."""


def check_folder(path: Path) -> None:
    """Refuse a folder to write into that cannot be made, before hours of work on what is to lie in it.

    Args:
        path: the folder, which need not exist.

    Raises:
        DataError: it, or a folder that it lies in, is a file, or a link that leads nowhere.
    """
    above = next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), None)
    if above is not None and not above.is_dir():
        kind = "a file" if above.exists() else "a link that leads nowhere"
        lies = f"{above} is {kind}" if above == path else f"{path} would lie in {above}, which is {kind}"
        raise DataError(f"{lies}; expected a folder.", "Name another one, or move it away.")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to `path` when the block ends without an error.

    A kill at any moment leaves either the old file or the new one, never half of one. If two processes write the same
    file, both succeed, and the last rename wins.

    Args:
        path: the file to write; its folder is made if it is missing.

    Yields:
        A path in the same folder (so that the rename is atomic) with the same suffixes (by which formats are chosen).

    Raises:
        OSError: the file could not be written; `filename` is `path`, also where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_of(path)
    with _held(path) as temporary:
        try:
            yield temporary
            os.replace(temporary, path)
        except OSError as error:
            # a full disk is reported without a name, and the temporary one would tell a user nothing
            if error.errno is not None and error.filename in (None, str(temporary)):
                error.filename = str(path)
            raise
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def naming(temporary: Path, path: Path, otherwise: Path) -> Iterator[None]:
    """Let the errors of a block name `path` instead of a temporary folder, and `otherwise` where they name nothing.

    Args:
        temporary: the folder that errors would name.
        path: what they name in its place.
        otherwise: the file of errors that name none, such as those of a full disk.
    """
    try:
        yield
    except MedsegError as error:
        error.message = error.message.replace(str(temporary), str(path))
        raise
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk
            error.filename = str(otherwise)
        elif isinstance(error.filename, str | os.PathLike):
            error.filename = str(error.filename).replace(str(temporary), str(path))
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new temporary folder, and rename it to `path` when the block ends without an error.

    Args:
        path: the folder to make; it must not exist, or be empty. An empty one that has to stay, since it is a mount
            point or the current folder, is filled entry by entry.

    Yields:
        The path of the temporary folder, beside `path`. Errors that the block raises name `path` instead.
    """
    with temporary_folder(path) as temporary:
        with naming(temporary, path, path):
            yield temporary
        if _removed_empty(path):
            os.replace(temporary, path)
        else:
            for entry in sorted(temporary.iterdir()):
                shutil.move(entry, path)


def _removed_empty(path: Path) -> bool:
    """Remove an empty folder, which could not be replaced on Windows; False if it has to stay where it is."""
    if not path.is_dir():
        return True
    if path.resolve() == Path.cwd():  # the user's shell stands in it
        return False
    try:
        path.rmdir()
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False  # a mount point, or a folder within one that is read only
    return True


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Give a folder where the system keeps temporary files (`TMPDIR`), and remove it at the end of the block.

    Args:
        purpose: a word that becomes part of its name; what killed commands left for the same purpose is removed.

    Yields:
        The folder.
    """
    # others use the same place: only this user may look in
    with temporary_folder(Path(tempfile.gettempdir()) / f"medseg-{purpose}", 0o700) as temporary:
        yield temporary


@contextmanager
def temporary_folder(path: Path, mode: int = 0o777) -> Iterator[Path]:
    """Make a temporary folder beside `path`, and remove it at the end of the block, if it is still there.

    Args:
        path: what it is to become, or belongs to.
        mode: who may look in.

    Yields:
        The folder.
    """
    path = Path(os.path.abspath(path))  # `.` has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_of(path)
    with _held(path, mode) as temporary:
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_temporaries(folder: Path, names: Collection[str] | None = None, suffix: str = "") -> None:
    """Delete the temporary files and folders that killed commands left, but none that a process still writes.

    Args:
        folder: where to look; subfolders are not looked into.
        names: the names of the files that they were to become; None for all, in folders that are medseg's own.
        suffix: only those whose names end so: files of medseg's own, which lie in folders of the user's.
    """
    for name, paths in _temporaries(folder).items():
        if name.endswith(suffix) and (names is None or name.removeprefix(NEXT) in names):
            for path in paths:
                _remove_abandoned(path)


def _remove_leftovers_of(target: Path) -> None:
    """Delete what killed commands left of a target; each folder is listed once by each process."""
    folder = os.path.abspath(target.parent)
    if folder not in _leftovers:
        _leftovers[folder] = _temporaries(target.parent)
    for path in _leftovers[folder].pop(target.name, []):
        _remove_abandoned(path)


def _temporary_name(path: Path) -> Path:
    """Return a new name beside `path`, which ends as its name does."""
    return path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")


def _temporaries(folder: Path) -> dict[str, list[Path]]:
    """Return {name of the target: temporary files and folders} that lie in a folder."""
    paths_by_stem: dict[str, list[Path]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := _TEMPORARY.fullmatch(entry.name):
                paths_by_stem.setdefault(match[1], []).append(folder / entry.name)
    return paths_by_stem


@contextmanager
def _held(path: Path, folder_mode: int | None = None) -> Iterator[Path]:
    """Make a temporary file or folder and hold a lock on it during the block, which says that its process lives.

    The lock is of the kind that the system takes back however the process ends. No lock is held where the system has
    none; what then is in the way of writing, the writer reports. Another process may find what was just made before
    its lock is held, take it for abandoned and delete it: then another one is made.

    Args:
        path: what it is to become.
        folder_mode: who may look into a folder; None for a file.

    Yields:
        The temporary path.
    """
    while True:
        temporary = _temporary_name(path)
        if folder_mode is not None:
            temporary.mkdir(folder_mode)
        descriptor, gone = _locked(temporary, folder_mode is not None)
        if not gone:
            break
    try:
        yield temporary
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(temporary: Path, is_folder: bool) -> tuple[int | None, bool]:
    """Lock a temporary path, of a file that is made; return the lock's descriptor, and whether the path is gone."""
    if fcntl is None:
        return None, False
    try:
        descriptor = os.open(temporary, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError:
        return None, is_folder and not temporary.exists()
    with suppress(OSError):  # a drive without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for a process that is about to delete it
    if temporary.exists():
        return descriptor, False
    os.close(descriptor)
    return None, True


def _remove_abandoned(path: Path) -> None:
    """Delete a temporary file or folder, unless a living process holds it, or this user may not."""
    with suppress(OSError), _abandoned(path) as abandoned:
        if abandoned and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif abandoned:
            path.unlink()


@contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Tell whether no process holds a temporary file or folder, which none can then take hold of during the block.

    Where locks do not say it, its age does.
    """
    if fcntl is None:
        yield _is_old(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            abandoned = True
        except BlockingIOError:
            abandoned = False
        except OSError:
            abandoned = _is_old(path)  # a drive without locks
        yield abandoned
    finally:
        os.close(descriptor)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _OLD_SECONDS


@contextmanager
def saving(path: Path, own_folder: bool = False) -> Iterator[Path]:
    """Write as with `atomic`, by libraries that raise their own errors when a disk is full or a folder is not writable.

    Args:
        path: the file to write.
        own_folder: the temporary path lies in a temporary folder of its own, for libraries that write a temporary file
            of their own name beside it, which a kill would leave (safetensors from 0.6 on).

    Yields:
        The temporary path to write to.

    Raises:
        MedsegError: the file could not be written, for whatever reason.
    """
    try:
        if own_folder:
            with temporary_folder(path) as folder:
                yield folder / path.name
                os.replace(folder / path.name, path)
        else:
            with atomic(path) as temporary:
                yield temporary
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise MedsegError(
            f"{path} could not be written: {reason}", "Free some space, or check the folder's permissions."
        ) from None


def write_text(path: Path, text: str) -> None:
    r"""Write `text` to `path` atomically, as UTF-8.

    File names on Linux may hold bytes that are not UTF-8; such bytes are written escaped, as in JSON (`\udce9`).
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_limited(path: Path, most_bytes: int) -> bytes | None:
    """Return the content of a file, of a huge one only a byte more than it may have; None if there is no such file.

    Raises:
        DataError: it is a folder, or may not be read.
    """
    try:
        with open(path, "rb") as stream:
            return stream.read(most_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Name a file that you may read.") from None


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):  # 1 MiB at a time: scans may be larger than memory
            digest.update(block)
    return digest.hexdigest()


def earlier_path(folder: Path, before: str = "", after: str = "") -> Path:
    """Return a path in a folder that says by its name when it was kept, `earlier-DATE-TIME`, and that is not taken.

    Args:
        folder: the folder.
        before: the beginning of its name.
        after: the end of its name.
    """
    stem = f"{before}earlier-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = folder / f"{stem}{after}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{after}"
    return path
