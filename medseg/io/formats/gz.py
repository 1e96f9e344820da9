"""Read and write gzip, as fast as this machine can: with ISA-L if the package `isal` is installed, else zlib.

Reading verifies the checksum and holds only the unpacked bytes in memory, not the packed ones beside them. Written
files contain neither name nor time, so that equal content gives equal bytes.
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

_PIECE_BYTES = 1 << 16  # unpacks to 64 MB at most
_LEVEL = 1  # the fastest
_GZIP_WRAPPER = 31  # zlib's window bits for a gzip header


def read(path: Path, offset: int, count: int, beyond: int = 1 << 20) -> tuple[NDArray[np.uint8], bool]:
    """Unpack `count` bytes from `offset` on; members that follow one another count as one content.

    Args:
        path: a gzip file.
        offset: unpacked bytes to skip at the beginning.
        count: the number of bytes wanted.
        beyond: the number of bytes after them to unpack on the way to the end, where the checksum is.

    Returns:
        The bytes, fewer than `count` if there are no more, and False if the content breaks off before its end.

    Raises:
        ERRORS: the packed content is damaged.
    """
    unpacked = np.empty(count, dtype=np.uint8)
    position = -offset  # of the next piece, counted from the first byte wanted
    complete = False
    for piece in _pieces(path):
        complete = piece is None
        if piece is None:
            continue
        first, last = max(0, -position), min(len(piece), count - position)
        if first < last:
            unpacked[position + first : position + last] = np.frombuffer(piece, np.uint8, last - first, first)
        position += len(piece)
        if position > count + beyond:
            complete = True
            break
    return unpacked[: max(0, min(position, count))], complete


def unpacked_size(path: Path) -> int:
    """Return about how many bytes a file's content has, without unpacking it: a gzip file says so at its end."""
    with path.open("rb") as stream:
        start, size = stream.read(2), stream.seek(0, 2)
        if start != MAGIC or size < 18:
            return size
        stream.seek(-4, 2)
        unpacked = int.from_bytes(stream.read(4), "little")
    while unpacked < size:  # the size is stored modulo 4 GiB
        unpacked += 1 << 32
    return min(unpacked, size * 1032)  # the most that deflate can make of a byte, whatever the file says


def _pieces(path: Path) -> Iterator[bytes | None]:
    """Yield unpacked pieces of a file; None where a member ended well. What follows the last member is left alone."""
    with path.open("rb", buffering=0) as stream:
        packed, member = stream.read(_PIECE_BYTES), engine.decompressobj(_GZIP_WRAPPER)
        while packed:
            yield member.decompress(packed)
            if member.eof:
                yield None
                packed = (member.unused_data + stream.read(_PIECE_BYTES)).lstrip(b"\0")
                if not packed.startswith(MAGIC):
                    return
                member = engine.decompressobj(_GZIP_WRAPPER)
            else:
                packed = stream.read(_PIECE_BYTES)


def pack(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield a gzip file of the parts, one after the other, in pieces to be written."""
    packer = engine.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WRAPPER)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()
