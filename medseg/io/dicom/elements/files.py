"""Where DICOM files lie: a folder, a zip, or a file of its own; each file can be opened as a stream."""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from medseg.core.errors import DataError

_MOST_MEMBERS = 200_000
_MOST_MEMBER_BYTES = 4 << 30
_MOST_RATIO = 1_100.0  # deflate packs at most 1,032 to 1
_ENCRYPTED = 0x1
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)
_SYSTEM = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class File:
    """A file in a folder, or a member of a zip.

    Attributes:
        path: the file, or the zip.
        member: the member's name; None for a file.
        root: folder that messages leave out of its name; two files are the same whatever their roots are.
    """

    path: Path
    member: str | None = None
    root: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What messages call it: where it lies below the folder or zip that was looked at."""
        name = self.path.name if self.root is None else self.path.relative_to(self.root).as_posix()
        return (name if self.member is None else self.member).encode(errors="replace").decode()

    @property
    def folder(self) -> str:
        """The folder that it lies in, as in `name`."""
        return PurePosixPath(self.name).parent.as_posix()

    def open(self) -> BinaryIO:
        """The file's bytes as a stream that can seek; a member is unpacked into memory.

        Raises:
            DataError: it is gone, cannot be opened, or the zip is damaged.
        """
        try:
            if self.member is None:
                return open(self.path, "rb")
            return io.BytesIO(read_member(self.path, self.member))
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be opened: {error.strerror or error}.", "Check the path and its permissions."
            ) from None


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, by its content; DICOM files begin with a preamble that may hold anything."""
    return path.is_file() and not _has_dicom_mark(path) and zipfile.is_zipfile(path)


def files_in(container: Path) -> Iterator[File]:
    """Every file below a folder, every member of a zip, or the file itself, in order of their names.

    Links to folders are followed once; hidden folders and what operating systems leave behind are skipped.

    Raises:
        DataError: there is nothing there, or the zip is damaged or not safe to read.
    """
    container = Path(container)
    if container.is_dir():
        yield from (File(path, root=container) for path in _walk(container))
    elif not container.exists():
        raise DataError(f"There is no file or folder {container}.", "Check the path, and that drives are in place.")
    elif container.name.upper() == "DICOMDIR":
        yield from (File(path, root=container.parent) for path in _walk(container.parent))
    elif is_zip(container):
        yield from (File(container, name) for name in sorted(members_of(container)) if _wanted(PurePosixPath(name)))
    else:
        yield File(container)


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip that are files, by name.

    Raises:
        DataError: it is damaged, or a member is encrypted, a link, leads out of the zip or declares absurd sizes.
    """
    return _opened(path)[1]


def read_member(path: Path, name: str) -> bytes:
    """The content of a member, and no more than it declares.

    Raises:
        DataError: it is damaged, or not safe to read.
    """
    archive, members = _opened(path)
    if name not in members:
        raise DataError(f"{path} holds no {name!r} any more.", "It changed while it was read: run the command again.")
    member = members[name]
    try:
        with archive.open(member) as source:
            data = source.read(member.file_size + 1)
    except _DAMAGED as error:
        raise DataError(f"{path}: {name} is damaged: {error}.", "Copy or download the zip anew.") from None
    if len(data) != member.file_size:
        raise DataError(f"{path}: {name} does not hold the {member.file_size:,} bytes that it declares.")
    return data


def _opened(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        found = os.stat(path)
        return _archive(path, found.st_mtime_ns, found.st_size)
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged or no zip file: {error}.", "Copy or download it anew.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


@lru_cache(maxsize=4)
def _archive(path: Path, changed: int, size: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An open zip whose members were looked at; it stays open while slices are read from it."""
    archive = zipfile.ZipFile(path)
    members = [member for member in archive.infolist() if not member.filename.endswith("/")]
    if len(members) > _MOST_MEMBERS:
        raise DataError(f"{path} has {len(members):,} members; expected at most {_MOST_MEMBERS:,}.")
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        wrong = _wrong(member) or ("is there twice" if member.filename in found else None)
        if wrong:
            raise DataError(f"{path} holds {member.filename!r}, which {wrong}; nothing of it was read.")
        found[member.filename] = member
    return archive, found


def _wrong(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    if not name or name.startswith("/") or "\\" in name or PureWindowsPath(name).drive or "\0" in member.orig_filename:
        return "is not a relative path"
    if ".." in PurePosixPath(name).parts:
        return "leads out of its folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _PACKINGS:
        return "is compressed otherwise than by deflate"
    if member.file_size > _MOST_MEMBER_BYTES or member.file_size > _MOST_RATIO * max(member.compress_size, 1):
        return f"declares {member.file_size:,} bytes, {member.compress_size:,} in the zip (it may be a zip bomb)"
    return None


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SYSTEM)
        wanted = (Path(place, name) for name in sorted(names) if _wanted(PurePosixPath(name)))
        yield from (path for path in wanted if not _waits(path))


def _waits(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device: opening one may never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # a link to nowhere, told of when it is opened
        return False
    return not stat.S_ISREG(mode)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}.", "Check its permissions.") from None


def _wanted(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part in _SYSTEM for part in name.parts)
    return not hidden


def _has_dicom_mark(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"
