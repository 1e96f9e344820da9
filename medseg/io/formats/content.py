"""Read the bytes of a file, inflated if it is packed, and never more of them than its header may ask for.

Nothing here trusts a header: memory is claimed for what is really there, and a size that the file cannot hold is
refused before anything is read.
"""

from __future__ import annotations

import bz2
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.io.formats import gz

_DEFLATE_AT_MOST = 1032  # bytes that deflate can make of one (https://zlib.net/zlib_tech.html)
_SLACK = 1 << 20  # bytes; so little memory is claimed without a check
_BROKEN: Any = (*gz.ERRORS, OSError, EOFError)
_GZIP_HEADER = 1 << 12  # more than a name and some compressed bytes take
_GZIP_OR_ZLIB = 47  # zlib's window bits for: accept whichever header is there

PNG_START = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a PNG."""
_STARTS = (
    (PNG_START, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"NRRD", "NRRD"),
    (b"ObjectType", "MetaImage"),
    (b"\x89HDF", "HDF5 (MINC, MATLAB)"),
    (b"CDF", "netCDF (MINC)"),
    (b"# vtk DataFile", "VTK"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (gz.MAGIC, "gzip"),
    (b"%PDF", "PDF"),
    (b"version https://git-lfs", "a pointer of git LFS (the file itself was never fetched)"),
    (b"<!DOCTYPE", "a web page (a download that failed?)"),
    (b"<html", "a web page (a download that failed?)"),
)


def kind_of(path: Path) -> str | None:
    """Return the kind of file that the first bytes show, for messages; None if they show none."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(400)
    except OSError:
        return None
    if begin[128:132] == b"DICM":
        return "DICOM"
    if begin[344:347] in (b"n+1", b"ni1") or begin[4:7] in (b"n+2", b"ni2"):
        return "NIfTI"
    return next((name for start, name in _STARTS if begin.startswith(start)), None)


def start(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of the unpacked content, or as many as there are."""
    with path.open("rb") as stream:
        begin = stream.read(count + _GZIP_HEADER)
    if begin[:2] != gz.MAGIC:
        return begin[:count]
    unpacked: bytes = gz.engine.decompressobj(_GZIP_OR_ZLIB).decompress(begin, count)
    return unpacked


def body(path: Path, offset: int, count: int, what: str) -> NDArray[np.uint8]:
    """Return some bytes of the content of a plain or gzip'd file.

    Args:
        path: the file.
        offset: bytes of the content to skip.
        count: the number of bytes that the header declares.
        what: the header's declaration in words, for messages.

    Returns:
        (count,) bytes.

    Raises:
        DataError: there are fewer, or the file is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        packed = stream.read(2) == gz.MAGIC
    most = size * _DEFLATE_AT_MOST if packed else size
    if offset + count > most:
        no_data = packed and _ends_by(path, offset)
        raise incomplete(path, what, count, 0 if no_data else max(0, most - offset))
    if not packed:
        return np.fromfile(path, np.uint8, count, offset=offset)
    try:
        unpacked, complete = gz.read(path, offset, count)
    except gz.ERRORS as error:
        raise damaged(path, f"its packed content is broken ({error})") from error
    if len(unpacked) < count:
        raise incomplete(path, what, count, len(unpacked))
    if not complete:
        raise damaged(path, "its packed content ends early", "truncated")
    return unpacked


def _ends_by(path: Path, offset: int) -> bool:
    """Return whether the unpacked content has no byte at `offset`: a header without data."""
    try:
        return not len(gz.read(path, offset, 1, 0)[0])
    except gz.ERRORS:
        return False


def unpack(packed: bytes, count: int, path: Path, what: str) -> memoryview:
    """Unpack bytes; the checksum at their end is verified if it follows soon.

    Args:
        packed: gzip, zlib or bzip2.
        count: the number of unpacked bytes that the header declares.
        path: the file, for messages.
        what: the header's declaration in words, for messages.

    Returns:
        `count` bytes.

    Raises:
        DataError: there are fewer, or they are damaged.
    """
    engine: Any = bz2.BZ2Decompressor() if packed[:3] == b"BZh" else gz.engine.decompressobj(_GZIP_OR_ZLIB)
    try:
        unpacked = engine.decompress(packed, count)
        rest = b"" if engine.eof else engine.decompress(getattr(engine, "unconsumed_tail", b""), _SLACK)
    except _BROKEN as error:
        raise damaged(path, f"its packed content is broken ({error})") from error
    if len(unpacked) < count:
        raise incomplete(path, what, count, len(unpacked))
    if not engine.eof and len(rest) < _SLACK:
        raise damaged(path, "its packed content ends early", "truncated")
    return memoryview(unpacked)


def plain(stream: BinaryIO, begin: int, count: int, path: Path, what: str) -> bytes:
    """Return some bytes of an open file that is not packed.

    Args:
        stream: the open file.
        begin: the first byte.
        count: the number of bytes that the header declares.
        path: the file.
        what: the header's declaration in words, for messages.

    Returns:
        `count` bytes.

    Raises:
        DataError: there are fewer.
    """
    size = path.stat().st_size
    if begin < 0 or begin + count > size:
        raise incomplete(path, what, count, max(0, size - max(0, begin)))
    stream.seek(begin)
    return stream.read(count)


def written_out(text: bytes, count: int, dtype: np.dtype, path: Path, what: str) -> bytes:
    """Return the bytes of numbers that are written out as text.

    Args:
        text: the numbers with white space between them; what follows the last is left alone.
        count: the number of numbers that the header declares.
        dtype: their type.
        path: the file, for messages.
        what: the header's declaration in words, for messages.

    Returns:
        `count` numbers as bytes of the type.

    Raises:
        DataError: there are fewer.
        ValueError: one of them is not a number, or does not fit the type.
    """
    numbers = text.split(None, count)
    if len(numbers) < count:
        raise incomplete(path, what, count * dtype.itemsize, len(numbers) * dtype.itemsize)
    return np.array(numbers[:count]).astype(dtype).tobytes()


def incomplete(path: Path, what: str, count: int, available: int) -> DataError:
    """Return the error for a file with fewer bytes of voxels than its header declares.

    Args:
        path: the file.
        what: the header's declaration in words.
        count: the bytes that it declares.
        available: the most bytes that the file can hold.
    """
    return DataError(
        f"{path} is incomplete: its header declares {what}, which is {count} bytes; there are at most {available}.",
        "The copy or export was interrupted, or the header is damaged: copy or export it again.",
        "truncated" if available else "no data",
    )


def check_claim(path: Path, shape: tuple[int, ...], itemsize: int, most_per_byte: int = _DEFLATE_AT_MOST) -> None:
    """Refuse a shape that a file of this size cannot hold, for libraries that claim memory before they read.

    Args:
        path: the file.
        shape: the shape that its header declares.
        itemsize: bytes of a value.
        most_per_byte: the most bytes that one byte of the file can stand for.

    Raises:
        DataError: with the shape.
    """
    claimed, size = prod(shape) * itemsize, path.stat().st_size
    if claimed > size * most_per_byte + _SLACK:
        shown = " x ".join(map(str, shape))
        raise damaged(path, f"it declares {shown} values, {claimed} bytes, in a file of {size} bytes")


def damaged(path: Path, what: str, kind: str | None = None) -> DataError:
    """Return the error for a file that does not hold what its format requires.

    Args:
        path: the file.
        what: what is wrong, for "PATH cannot be read: ...".
        kind: the kind of the error, see `DataError`.
    """
    return DataError(f"{path} cannot be read: {what}.", "It is damaged or incomplete: copy or export it again.", kind)
