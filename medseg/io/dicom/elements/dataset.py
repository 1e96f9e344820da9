"""Read one DICOM file as a pydicom data set; every error becomes a `DataError` that names the file.

Headers hold names of patients, and pydicom's messages and warnings quote them: none of their words are passed on.
"""

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
from medseg.core.installing import pip_install
from medseg.io.dicom.elements.files import PREAMBLE_BYTES, is_packed_dicom, looks_like_dicom
from medseg.io.dicom.elements.uids import hide_uids

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from medseg.io.dicom.elements.files import File

_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""Deflated Explicit VR Little Endian (PS3.5 A.5): everything behind the file meta information is one deflate stream."""
_HEAD_BYTES = 1024
_META_LENGTH_ELEMENT = b"\2\0\0\0UL\4\0"
"""The first element behind the preamble, (0002,0000): the length of the file meta information (PS3.10 7.1)."""
_META_LENGTH_AT = PREAMBLE_BYTES + len(_META_LENGTH_ELEMENT)
_BLOCK_BYTES = 1 << 20
_MAX_INFLATED_BYTES = 2 << 30
_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"")
_MAX_REASON = 200

_lock = threading.Lock()
_silenced: list[Any] = []
"""The context of the first thread within `without_warnings`, and a None for every thread."""
logging.getLogger("pydicom").addHandler(logging.NullHandler())


def require_pydicom() -> None:
    """Check that the extra `dicom` is installed.

    Raises:
        DataError: it is not; with the command that installs it.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise DataError(
            "DICOM needs the package pydicom, which is not installed.",
            f"{pip_install('dicom')} installs it, with the decoders for compressed images.",
        ) from None


def read_dataset(file: File, pixels: bool = False, tags: Sequence[str] | None = None) -> FileDataset:
    """Read the data set of a file.

    Args:
        file: the file or the member of a zip.
        pixels: also read the pixels.
        tags: keywords (or tags) of the elements to read; None for all.

    Returns:
        The elements that were read.

    Raises:
        DataError: it cannot be opened, is not DICOM (kind `no DICOM`), or is damaged (kind `damaged`).
    """
    with file.open() as stream:
        if not looks_like_dicom(stream):
            if is_packed_dicom(stream):
                raise DataError(f"{file.name} is DICOM packed with gzip; gunzip unpacks it.", kind="damaged")
            raise DataError(f"{file.name} is not a DICOM file.", kind="no DICOM")
        with naming_damage(file), without_warnings():
            import pydicom

            _check_inflated_size(stream, file)
            return pydicom.dcmread(
                stream,
                stop_before_pixels=not pixels,
                force=True,  # files without a preamble are common
                specific_tags=None if tags is None else list(tags),
            )


@contextmanager
def naming_damage(file: File) -> Iterator[None]:
    """Turn whatever a damaged file raises into a `DataError` that names the file and none of its values.

    Raises:
        DataError: an error of the block that was none of medseg's own.
    """
    try:
        yield
    except MedsegError:
        raise
    except MemoryError:
        raise DataError(
            f"{file.name} declares more than there is memory for: it is damaged, or too large for this machine.",
            kind="damaged",
        ) from None
    except RecursionError:
        raise DataError(f"{file.name} is damaged: its sequences are nested without end.", kind="damaged") from None
    except Exception as error:  # damaged files raise a dozen unrelated types, and their messages quote values
        raise DataError(
            f"{file.name} cannot be read as DICOM ({type(error).__name__}).",
            "It is damaged or incomplete: copy or export it again.",
            "damaged",
        ) from None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence pydicom's warnings on values that break a rule of the standard and can be read all the same.

    The filters of warnings belong to the process: the first of several threads sets them, the last one restores them.
    """
    with _lock:
        if not _silenced:
            _silenced.append(warnings.catch_warnings())
            _silenced[0].__enter__()
            warnings.simplefilter("ignore")
        _silenced.append(None)
    try:
        yield
    finally:
        with _lock:
            _silenced.pop()
            if len(_silenced) == 1:
                _silenced.pop().__exit__(None, None, None)


def reason_of(error: Exception) -> str:
    """Return an error's message on one line, without UIDs of the patient and without what stands in quotes."""
    message = _QUOTED.sub("...", hide_uids(" ".join(str(error).split())))[:_MAX_REASON]
    return message or type(error).__name__


def _check_inflated_size(stream: BinaryIO, file: File) -> None:
    """Refuse a deflated data set that is much larger than any image: pydicom inflates all of it at once."""
    start = stream.tell()
    head = stream.read(_HEAD_BYTES)
    if _DEFLATED in head and head[PREAMBLE_BYTES:_META_LENGTH_AT] == _META_LENGTH_ELEMENT:
        meta_bytes = int.from_bytes(head[_META_LENGTH_AT : _META_LENGTH_AT + 4], "little")
        stream.seek(start + _META_LENGTH_AT + 4 + meta_bytes)
        if _inflates_beyond(stream, _MAX_INFLATED_BYTES):
            raise DataError(
                f"{file.name} inflates to more than {_MAX_INFLATED_BYTES:,} bytes; it may be a zip bomb.",
                kind="damaged",
            )
    stream.seek(start)


def _inflates_beyond(stream: BinaryIO, max_bytes: int) -> bool:
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    block = stream.read(_BLOCK_BYTES)
    while block and not inflater.eof:
        size += len(inflater.decompress(block, _BLOCK_BYTES))
        if size > max_bytes:
            return True
        block = inflater.unconsumed_tail or stream.read(_BLOCK_BYTES)
    return False
