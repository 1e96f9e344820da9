"""gzip, as fast as this machine can: ISA-L where the package `isal` is there, else zlib.

Reading verifies the checksum and holds the unpacked bytes only, not the packed ones beside them. What is written has
neither name nor time in it, so that equal content gives equal bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

engine: Any = zlib
try:
    from isal import isal_zlib

    engine = isal_zlib
except ImportError:  # no wheel for this platform
    pass

MAGIC = b"\x1f\x8b"
ERRORS: tuple[type[Exception], ...] = (zlib.error, engine.error)
"""What damaged content raises."""

_PIECE = 1 << 16  # unpacks to 64 MB at most
_LEVEL = 1
_GZIP_WRAPPER = 31


def read(path: Path, offset: int, count: int, beyond: int = 1 << 20) -> tuple[NDArray[np.uint8], bool]:
    """Unpack `count` bytes from `offset` on; members that follow one another count as one content.

    Args:
        path: a gzip file.
        offset: bytes to leave out at the beginning.
        count: how many are wanted.
        beyond: how many bytes after them to unpack on the way to the end, where the checksum is.

    Returns:
        The bytes, fewer than `count` if there are no more, and False if the content breaks off before its end.

    Raises:
        ERRORS: the packed content is damaged.
    """
    found = np.empty(count, dtype=np.uint8)
    place = -offset
    whole = False
    for piece in _pieces(path):
        whole = piece is None
        if piece is None:
            continue
        first, last = max(0, -place), min(len(piece), count - place)
        if first < last:
            found[place + first : place + last] = np.frombuffer(piece, np.uint8, last - first, first)
        place += len(piece)
        if place > count + beyond:
            whole = True
            break
    return found[: max(0, min(place, count))], whole


def unpacked_size(path: Path) -> int:
    """About how many bytes a file's content has, without unpacking it: what its end says, if it is a gzip file."""
    with path.open("rb") as stream:
        start, size = stream.read(2), stream.seek(0, 2)
        if start != MAGIC or size < 18:
            return size
        stream.seek(-4, 2)
        said = int.from_bytes(stream.read(4), "little")
    while said < size:  # it is said modulo 4 GiB
        said += 1 << 32
    return min(said, size * 1032)


def _pieces(path: Path) -> Iterator[bytes | None]:
    """Unpacked pieces of a file; None where a member has ended well. What follows the last member is left alone."""
    with path.open("rb", buffering=0) as stream:
        packed, member = stream.read(_PIECE), engine.decompressobj(_GZIP_WRAPPER)
        while packed:
            yield member.decompress(packed)
            if member.eof:
                yield None
                packed = (member.unused_data + stream.read(_PIECE)).lstrip(b"\0")
                if not packed.startswith(MAGIC):
                    return
                member = engine.decompressobj(_GZIP_WRAPPER)
            else:
                packed = stream.read(_PIECE)


def pack(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """A gzip file of the parts, one after the other, in pieces to be written."""
    packer = engine.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WRAPPER)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()
