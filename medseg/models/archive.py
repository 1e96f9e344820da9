"""Open zip files from strangers: members are checked before any is read, and none is written outside its folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medseg.core.errors import ModelError
from medseg.core.names import relative_path_problem

_MOST_MEMBERS = 10_000
_BLOCK = 1 << 20
_ENCRYPTED = 0x1
"""Bit of a member's general purpose flag (APPNOTE.TXT, 4.4.4)."""
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)
"""What `zipfile` raises for a file that is not a valid zip, besides OSError."""


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file, after a check of its members' names.

    Yields:
        The zip file, open for reading.

    Raises:
        ModelError: it is damaged, or a member could land outside of a folder that it is unpacked to.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_names(archive.infolist(), path)
            yield archive
    except DAMAGED as error:
        raise ModelError(f"{path} is damaged or not a zip file: {error}.", "Copy or download it again.") from None
    except OSError as error:
        raise ModelError(f"{path} could not be read or unpacked: {error.strerror or error}.") from None


def check_names(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Check that all members are plain files with safe names.

    Args:
        members: the members of the zip.
        path: the path of the zip, for messages.

    Raises:
        ModelError: a name is absolute, leads upwards or occurs twice, or a member is a link, encrypted, or compressed
            in a rare way.
    """
    if len(members) > _MOST_MEMBERS:
        raise ModelError(f"{path} has {len(members)} members; no model has so many.")
    names: set[str] = set()
    for member in members:
        name = member.filename
        # zipfile cuts a name at a NUL: the name as it was stored is checked too
        problem = relative_path_problem(name) or relative_path_problem(member.orig_filename)
        if problem:
            pass
        elif stat.S_ISLNK(member.external_attr >> 16):
            problem = "is a link"
        elif member.flag_bits & _ENCRYPTED:
            problem = "is encrypted"
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = "is compressed otherwise than by deflate"
        elif name in names:
            problem = "is there twice"
        if problem:
            raise ModelError(f"{path} holds {name!r}, which {problem}. No model does; nothing of it was read.")
        names.add(name)


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most_bytes: int, most_ratio: float) -> None:
    """Write one member to a file, and no more of it than it declares.

    Args:
        archive: the zip.
        member: the member to unpack.
        target: path of the new file.
        most_bytes: largest size that it may declare.
        most_ratio: how many times its size in the zip it may declare.

    Raises:
        ModelError: it declares more than that, or more than the disk has room for, or holds more than it declares.
    """
    where = f"{archive.filename}: {member.filename}"
    if member.file_size > most_bytes or member.file_size > most_ratio * max(member.compress_size, 1):
        raise ModelError(
            f"{where} declares {member.file_size:,} bytes, {member.compress_size:,} in the zip; expected at most "
            f"{most_bytes:,} and {most_ratio:g} times its size in the zip. It may be a zip bomb; nothing was unpacked."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if member.file_size > free:
        raise ModelError(
            f"{where} needs {member.file_size:,} bytes, and {target.parent} has {free:,} left.",
            "Free some space, or set TMPDIR to a folder on another disk.",
        )
    written = 0
    with archive.open(member) as source, open(target, "xb") as sink:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > member.file_size:
                raise ModelError(f"{where} holds more than the {member.file_size:,} bytes that it declares.")
            sink.write(block)
