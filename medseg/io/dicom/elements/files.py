"""DICOM files in a folder, in a zip, or alone: find them, and open each as a stream.

Zips are read in place. They come from strangers, so that every member is checked before the first one is opened.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medseg.core.errors import DataError
from medseg.core.names import relative_path_problem

SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
"""Suffixes that names of DICOM files may have. Many have none."""
PREAMBLE_BYTES = 132
"""The preamble of 128 bytes, which may hold anything, and the prefix `DICM` (PS3.10 7.1)."""

_PREFIX = b"DICM"
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""First bytes of files without a preamble: group 2 or 8 in little endian, group 8 in big endian."""
_GZIP, _GZIP_WRAPPER = b"\x1f\x8b", 31  # its first bytes, and zlib's window bits for its header
_PACKED_BYTES = 4096  # more than what unpacks to a preamble, with a file's name in the header
_MAX_MEMBERS = 200_000
_MAX_MEMBER_BYTES = 4 << 30
_MAX_RATIO = 1_100.0  # deflate packs at most 1,032 to 1
_ENCRYPTED = 0x1
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)
_SYSTEM_NAMES = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class File:
    """A file in a folder, or a member of a zip.

    Attributes:
        path: the file, or the zip.
        member: the member's name; None for a file.
        root: the folder that messages leave out of its name. It plays no part in comparing two files.
    """

    path: Path
    member: str | None = None
    root: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Its name in messages: its path below the folder or zip that was searched."""
        name = self.path.name if self.root is None else self.path.relative_to(self.root).as_posix()
        return (name if self.member is None else self.member).encode(errors="replace").decode()

    @property
    def folder(self) -> str:
        """The folder of `name`."""
        return PurePosixPath(self.name).parent.as_posix()

    @property
    def full_path(self) -> Path:
        """The file as one path; a member is named as if the zip were a folder (`study.zip/RS.dcm`)."""
        return self.path if self.member is None else self.path / self.member

    def open(self) -> BinaryIO:
        """Open the file as a stream that can seek; a member is unpacked into memory.

        Returns:
            The stream, at the start of the file.

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


def looks_like_dicom(stream: BinaryIO) -> bool:
    """Return whether a file begins as DICOM does, with or without the preamble; the stream's position is kept."""
    start = stream.tell()
    first = stream.read(PREAMBLE_BYTES)
    stream.seek(start)
    if first[-len(_PREFIX) :] == _PREFIX and len(first) == PREAMBLE_BYTES:
        return True
    big_endian = first[:2] == b"\0\x08"
    length = int.from_bytes(first[4:8], "big" if big_endian else "little")
    # An element in explicit VR has its two capital letters here, one in implicit VR the length of its value.
    has_vr = first[4:6].isalpha() and first[4:6].isupper()
    return len(first) == PREAMBLE_BYTES and first[:2] in _FIRST_GROUPS and (has_vr or 0 < length < PREAMBLE_BYTES)


def is_packed_dicom(stream: BinaryIO) -> bool:
    """Return whether a file is DICOM packed with gzip, which nothing reads in place; the stream's position is kept."""
    start = stream.tell()
    packed = stream.read(_PACKED_BYTES)
    stream.seek(start)
    if packed[: len(_GZIP)] != _GZIP:
        return False
    try:
        unpacked = zlib.decompressobj(_GZIP_WRAPPER).decompress(packed, PREAMBLE_BYTES)
    except zlib.error:
        return False
    return looks_like_dicom(io.BytesIO(unpacked))


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip, by its content; a DICOM file is none, whatever its preamble holds."""
    return path.is_file() and not _has_preamble(path) and zipfile.is_zipfile(path)


def files_in(container: Path) -> Iterator[File]:
    """Yield every file below a folder, every member of a zip, or the file itself, ordered by name.

    Links to folders are followed once; hidden folders and the files of operating systems are skipped. A DICOMDIR
    stands for its folder.

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
        yield from (File(container, name) for name in sorted(members_of(container)) if _is_visible(PurePosixPath(name)))
    else:
        yield File(container)


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a zip that are files, by name.

    Raises:
        DataError: it is damaged, or a member is encrypted, a link, leads out of the zip or declares absurd sizes.
    """
    return _open_zip(path)[1]


def read_member(path: Path, name: str) -> bytes:
    """Return the content of a zip's member, and never more bytes than it declares.

    Args:
        path: the zip.
        name: the name of the member.

    Raises:
        DataError: the zip is damaged or not safe to read, or has no such member any more.
    """
    archive, members = _open_zip(path)
    if name not in members:
        raise DataError(
            f"{path} no longer holds {name!r}.", "The zip changed while it was read: run the command again."
        )
    member = members[name]
    try:
        with archive.open(member) as source:
            data = source.read(member.file_size + 1)
    except _ZIP_ERRORS as error:
        raise DataError(f"{path}: {name} is damaged: {error}.", "Copy or download the zip again.") from None
    if len(data) != member.file_size:
        raise DataError(f"{path}: {name} does not hold the {member.file_size:,} bytes that it declares.")
    return data


def _open_zip(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        status = os.stat(path)
        return _checked_zip(path, status.st_mtime_ns, status.st_size)
    except _ZIP_ERRORS as error:
        raise DataError(f"{path} is damaged or not a zip file: {error}.", "Copy or download it again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


@lru_cache(maxsize=4)
def _checked_zip(path: Path, modified_ns: int, size: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Open a zip and check its members; it stays open while slices are read from it.

    The time of change and the size are arguments so that a zip that changed is opened again.
    """
    archive = zipfile.ZipFile(path)
    members = [member for member in archive.infolist() if not member.filename.endswith("/")]
    if len(members) > _MAX_MEMBERS:
        raise DataError(f"{path} has {len(members):,} members; expected at most {_MAX_MEMBERS:,}.")
    by_name: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        danger = _danger(member) or ("is there twice" if member.filename in by_name else None)
        if danger:
            raise DataError(f"{path} holds {member.filename!r}, which {danger}; nothing of it was read.")
        by_name[member.filename] = member
    return archive, by_name


def _danger(member: zipfile.ZipInfo) -> str | None:
    """Return why a member is not safe to read, as the end of a sentence; None if it is."""
    # zipfile cuts a name at a NUL: the name as it was stored is checked too
    problem = relative_path_problem(member.filename) or relative_path_problem(member.orig_filename)
    if problem:
        return problem
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _COMPRESSIONS:
        return "is compressed otherwise than by deflate"
    if member.file_size > _MAX_MEMBER_BYTES or member.file_size > _MAX_RATIO * max(member.compress_size, 1):
        return f"declares {member.file_size:,} bytes, {member.compress_size:,} in the zip (it may be a zip bomb)"
    return None


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SYSTEM_NAMES)
        visible = (Path(parent, name) for name in sorted(names) if _is_visible(PurePosixPath(name)))
        yield from (path for path in visible if not _is_special(path))


def _is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device: opening one may block for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # a link to nowhere is reported when it is opened
        return False
    return not stat.S_ISREG(mode)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}.", "Check its permissions.") from None


def _is_visible(name: PurePosixPath) -> bool:
    return not any(part.startswith(".") or part in _SYSTEM_NAMES for part in name.parts)


def _has_preamble(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(PREAMBLE_BYTES)[-len(_PREFIX) :] == _PREFIX
