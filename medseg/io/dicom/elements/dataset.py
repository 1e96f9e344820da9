"""One DICOM file as a pydicom data set; whatever is wrong with it ends in a `DataError` that names it."""

from __future__ import annotations

import logging
import re
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from medseg.core.errors import DataError, MedsegError
from medseg.io.dicom.elements.uids import hide_uids

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from medseg.io.dicom.elements.files import File

_MARK = slice(128, 132)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEAD, _META_LENGTH = 1024, 140
_LENGTH_ELEMENT = b"\2\0\0\0UL\4\0"
"""The first element behind the mark, (0002,0000): how long the meta information is, 4 bytes from `_META_LENGTH` on."""
_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"")
_BLOCK, _MOST_INFLATED = 1 << 20, 2 << 30
_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""First bytes of files without a preamble: group 2 or 8, little endian; group 8, big endian."""


def need_pydicom() -> None:
    """Refuse kindly where the extra is not installed.

    Raises:
        DataError: with the command that installs it.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise DataError(
            "DICOM needs the package pydicom, which is not installed.",
            "pip install 'medseg[dicom]' installs it, with the decoders for compressed images.",
        ) from None


def read_dataset(file: File, pixels: bool = False, tags: Sequence[str] | None = None) -> FileDataset:
    """The data set of a file: without its pixels unless asked for, and only elements with keywords `tags`, if given.

    Raises:
        DataError: it cannot be opened, is no DICOM, or damaged.
    """
    with file.open() as stream:
        if not looks_like_dicom(stream):
            raise DataError(f"{file.name} is no DICOM file.", kind="no DICOM")
        with _telling(file), quiet():
            import pydicom

            _check_deflated(stream, file)
            return pydicom.dcmread(
                stream,
                stop_before_pixels=not pixels,
                force=True,
                specific_tags=None if tags is None else list(tags),
            )


def looks_like_dicom(stream: BinaryIO) -> bool:
    """Whether a file begins as DICOM does, with or without the preamble; the stream is where it was afterwards."""
    start = stream.tell()
    first = stream.read(_MARK.stop)
    stream.seek(start)
    if first[_MARK] == b"DICM":
        return True
    big = first[:2] == b"\0\x08"
    length = int.from_bytes(first[4:8], "big" if big else "little")
    is_text = first[4:6].isalpha() and first[4:6].isupper()  # the type of an element that says it, else its length
    return len(first) == _MARK.stop and first[:2] in _GROUPS and (is_text or 0 < length < _MARK.stop)


def _check_deflated(stream: BinaryIO, file: File) -> None:
    """Refuse a deflated data set that is much larger than any image: pydicom inflates all of it at once."""
    start = stream.tell()
    head = stream.read(_HEAD)
    if _DEFLATED in head and head[_MARK.stop : _META_LENGTH] == _LENGTH_ELEMENT:
        stream.seek(start + _META_LENGTH + 4 + int.from_bytes(head[_META_LENGTH : _META_LENGTH + 4], "little"))
        if _inflates_beyond(stream, _MOST_INFLATED):
            told = f"{file.name} inflates to more than {_MOST_INFLATED:,} bytes; it may be a bomb."
            raise DataError(told, kind="damaged")
    stream.seek(start)


def _inflates_beyond(stream: BinaryIO, most: int) -> bool:
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    block = stream.read(_BLOCK)
    while block and not inflater.eof:
        size += len(inflater.decompress(block, _BLOCK))
        if size > most:
            return True
        block = inflater.unconsumed_tail or stream.read(_BLOCK)
    return False


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings on values that break a rule of the standard and can be read all the same.

    Filters of warnings belong to the process: the first of several threads sets them, the last one sets them back.
    """
    with _lock:
        if not _inside:
            _inside.append(warnings.catch_warnings())
            _inside[0].__enter__()
            warnings.simplefilter("ignore")
        _inside.append(None)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if len(_inside) == 1:
                _inside.pop().__exit__(None, None, None)


_lock = threading.Lock()
_inside: list[Any] = []
logging.getLogger("pydicom").addHandler(logging.NullHandler())


def why(error: Exception) -> str:
    """What a decoder says of pixels, on one line, without UIDs of patients' data and what stands in quotes."""
    told = _QUOTED.sub("...", hide_uids(" ".join(str(error).split())))[:200]
    return told or type(error).__name__


@contextmanager
def _telling(file: File) -> Iterator[None]:
    try:
        yield
    except MedsegError:
        raise
    except MemoryError:
        raise DataError(f"{file.name} declares more than there is memory for: it is damaged.", kind="damaged") from None
    except RecursionError:
        raise DataError(f"{file.name} is damaged: its sequences are nested without end.", kind="damaged") from None
    except Exception as error:  # damaged files raise a dozen unrelated types
        reason = type(error).__name__  # its words may repeat values, and these a patient's name
        raise DataError(
            f"{file.name} cannot be read as DICOM ({reason}).", "It is damaged or incomplete: copy it again.", "damaged"
        ) from None
