"""One DICOM file as a pydicom data set; whatever is wrong with it ends in a `DataError` that names it."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from medseg.errors import DataError, MedsegError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from medseg.io.dicom.files import File

_MARK = slice(128, 132)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEAD, _META_LENGTH = 1024, 140  # (0002,0000) is the first element: its value lies behind preamble, mark and 8 bytes
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

            found = pydicom.dcmread(
                stream,
                stop_before_pixels=not pixels,
                force=True,
                specific_tags=None if tags is None else list(tags),
            )
            if not pixels:
                return found
            found.filename = None  # nothing may go back to a stream that is closed
            return found


def looks_like_dicom(stream: BinaryIO) -> bool:
    """Whether a file begins as DICOM does, with or without the preamble; the stream is where it was afterwards."""
    start = stream.tell()
    first = stream.read(_MARK.stop)
    stream.seek(start)
    return first[_MARK] == b"DICM" or (
        len(first) == _MARK.stop and first[:2] in _GROUPS and first[2:4] != b"\0\0\0"[:2]
    )


def _check_deflated(stream: BinaryIO, file: File) -> None:
    """Refuse a deflated data set that is much larger than any image: pydicom inflates all of it at once."""
    start = stream.tell()
    head = stream.read(_HEAD)
    place = head.find(_DEFLATED)
    stream.seek(start)
    if place < 0:
        return
    (length,) = struct.unpack_from("<I", head, _META_LENGTH) if len(head) > _META_LENGTH + 4 else (0,)
    stream.seek(start + _META_LENGTH + 4 + length)
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    block = stream.read(_BLOCK)
    while block and not inflater.eof:
        size += len(inflater.decompress(block, _BLOCK))
        if size > _MOST_INFLATED:
            raise DataError(
                f"{file.name} inflates to more than {_MOST_INFLATED:,} bytes; it may be a bomb.", kind="damaged"
            )
        block = inflater.unconsumed_tail or stream.read(_BLOCK)
    stream.seek(start)


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings on values that break a rule of the standard and can be read all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


logging.getLogger("pydicom").addHandler(logging.NullHandler())


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
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{file.name} cannot be read as DICOM: {reason}.", "It is damaged or incomplete: copy it again.", "damaged"
        ) from None
