"""Check the directories of a TIFF before a library follows them: damaged ones may overlap, or run in circles."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from medseg.io.formats.content import damaged

_CLASSIC, _BIG = 42, 43
_SUB_DIRECTORIES = 330
_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NEXT = {_CLASSIC: ("HHI4s", "H", "I"), _BIG: ("HHQ8s", "Q", "Q")}  # of an entry, the number of entries, an offset


def check_directories(path: Path) -> None:
    """Refuse a file whose directories take more bytes than it has, as those that overlap do.

    Raises:
        DataError: with what is wrong.
        ValueError: it is not a TIFF.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        order = {b"II": "<", b"MM": ">"}.get(stream.read(2))
        (kind,) = struct.unpack(f"{order}H", stream.read(2)) if order else (0,)
        if kind not in _NEXT:
            raise ValueError("it does not start like a TIFF")
        layouts = [order + layout for layout in _NEXT[kind]] if order else []
        if kind == _BIG:
            stream.seek(8)
        (first,) = _unpack(stream, layouts[2], path)
        offsets, seen, bytes_taken = [first], {0}, 0
        while offsets:
            offset = offsets.pop()
            if offset in seen:
                continue
            seen.add(offset)
            directory_bytes, following = _directory(stream, offset, layouts, size, path)
            bytes_taken += directory_bytes
            if bytes_taken > size:
                raise damaged(path, "its directories overlap")
            offsets += following


def _directory(stream: BinaryIO, start: int, layouts: list[str], size: int, path: Path) -> tuple[int, list[int]]:
    """Read one directory of a TIFF, a list of fields that describes an image, without reading pixels.

    Args:
        stream: the open file.
        start: offset of the directory in bytes.
        layouts: `struct` formats of an entry, of the number of entries, and of an offset.
        size: bytes of the file.
        path: the file, for messages.

    Returns:
        The bytes that the directory takes, and the offsets of the next directory (0 after the last) and of its
        sub-directories.

    Raises:
        DataError: the directory, or the values of one of its fields, would lie beyond the end of the file.
    """
    entry, number, offset = layouts
    if start >= size:
        raise damaged(path, f"one of its directories would start at byte {start} of {size}")
    stream.seek(start)
    (count,) = _unpack(stream, number, path)
    directory_bytes = struct.calcsize(number) + count * struct.calcsize(entry) + struct.calcsize(offset)
    if start + directory_bytes > size:
        raise damaged(path, f"a directory of {count} entries goes beyond the end of the file")
    entries = [_unpack(stream, entry, path) for _ in range(count)]
    following = [*_unpack(stream, offset, path)]
    for tag, kind, values, field in entries:
        bytes_of_values = values * _BYTES_OF_TYPE.get(kind, 1)
        if bytes_of_values > size:
            raise damaged(path, f"its field {tag} declares {values} values")
        if tag == _SUB_DIRECTORIES:
            following += _offsets(stream, field, values, layouts, _BYTES_OF_TYPE.get(kind, 1))
    return directory_bytes, following


def _offsets(stream: BinaryIO, field: bytes, count: int, layouts: list[str], width: int) -> list[int]:
    """Return the offsets of sub-directories, which stand in the field itself if they fit there."""
    if width not in (4, 8):
        return []
    if count * width > len(field):
        stream.seek(struct.unpack(layouts[2], field)[0])
        field = stream.read(count * width)
    order = layouts[2][0]
    return [*struct.unpack_from(f"{order}{min(count, len(field) // width)}{'I' if width == 4 else 'Q'}", field)]


def _unpack(stream: BinaryIO, layout: str, path: Path) -> tuple:
    data = stream.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise damaged(path, "a directory of it ends beyond the file")
    return struct.unpack(layout, data)
