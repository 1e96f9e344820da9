"""Images in files: scans and label maps in, label maps out, whatever the format.

No reader turns or flips anything: an array comes as (channel, z, y, x) with an affine that says how it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image
from medseg.io.dicom.labels.label_objects import read_label_object
from medseg.io.dicom.pixels import stacks
from medseg.io.formats import nifti
from medseg.io.formats.content import damaged, kind_of
from medseg.io.formats.stack import Stack
from medseg.io.formats.table import (
    FORMATS,
    answer_suffix,
    files_of,
    format_of,
    is_dicom,
    is_image,
    refuse_unknown,
    split_suffix,
)
from medseg.io.values.label_values import map_values, values_meant
from medseg.io.values.masks import one_value
from medseg.plans.sections import Reading

__all__ = [
    "AS_STORED",
    "FORMATS",
    "answer_suffix",
    "as_scan",
    "files_of",
    "header_notes",
    "is_dicom",
    "is_image",
    "read_image",
    "read_label",
    "read_stack",
    "split_suffix",
    "write_label",
]

AS_STORED = Reading()
"""Label files mean what they say."""


def read_image(path: Path, frame: int | None = None) -> Image:
    """Read a scan as (channel, z, y, x): integers where the file stores plain integers, else float32.

    Values beyond float32 stay float64; NaN and infinity are kept. Several volumes (a 4D file) are channels, unless
    `frame` chooses one of them; files of one volume are that volume.

    Raises:
        DataError: the file is missing, damaged, of an unknown format, or has no such frame.
    """
    path = Path(path)
    return as_scan(read_stack(path).image(path, frame))


def read_label(path: Path, reading: Reading = AS_STORED, grid: Image | None = None) -> Image:
    """Read a label map as (1, z, y, x) integers; whole numbers stored as floating point are accepted.

    Args:
        path: the file.
        reading: what a user said about soft masks, colours, other values, time series, and structures by their names.
        grid: of the scan, on which contours (RTSTRUCT) and frames (DICOM SEG) are drawn; where there is none, that of
            the series that they refer to, if it lies beside them.

    Raises:
        DataError: as `read_image`, or several channels, or values that are not whole numbers.
    """
    path = Path(path)
    if is_dicom(path):
        with _telling(path):
            image = read_label_object(path, reading, grid)
        return image.with_array(map_values(image.array, reading.map)) if reading.map else image
    image = (read_stack(path) if reading.colours else read_stack(path, mask=True)).image(path, reading.frame)
    if image.array.shape[0] == 3 and not reading.colours and reading.threshold is None:
        image = image.with_array(one_value(image.array))
    return image.with_array(values_meant(image.array, path, reading))


def write_label(path: Path, image: Image, like: Path | None = None) -> None:
    """Write (1, z, y, x) whole numbers in the smallest integer type, under a temporary name first.

    Args:
        path: the format follows from its suffix.
        image: the label map on its grid.
        like: the scan that the labels belong to; if it is of the same family of formats, the answer has its geometry
            fields as they stand there.

    Raises:
        DataError: the format cannot hold the image or its values, or `like` lies on another grid.
    """
    path = Path(path)
    suffix = split_suffix(path)[1]
    if suffix not in FORMATS:
        refuse_unknown(path)
    if answer_suffix(path) != suffix:
        raise DataError(f"{path}: label maps are not written as {suffix}.", f"Write {answer_suffix(path)} instead.")
    FORMATS[suffix].write(path, image, None if like is None else Path(like))


def read_stack(path: Path, mask: bool = False, reading: Reading = AS_STORED) -> Stack:
    """Everything that a file holds, or a series of DICOM; see `Stack`.

    Args:
        path: the file or series.
        mask: label values are wanted as they are stored, not the colours that they are shown in.
        reading: what is allowed to be done to series that are no regular volumes.

    Raises:
        DataError: the file is missing, damaged or of an unknown format, or the series is no volume.
    """
    if is_dicom(path):
        with _telling(path):
            return stacks.read(path, reading)
    form = format_of(path)
    with _telling(path):
        stack = form.read_mask(path) if mask else form.read(path)
    if 0 in stack.array.shape:
        raise damaged(path, f"it holds no voxels (its shape is {stack.array.shape[2:]})", "no data")
    return stack


def as_scan(image: Image) -> Image:
    """Integers as they are, everything else as float32 unless finite values do not fit."""
    array = image.array
    if array.dtype.kind in "iu" or array.dtype == np.float32:
        return image
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    fits = np.array_equal(np.isfinite(narrow), np.isfinite(array))
    return image.with_array(narrow if fits else array)


def header_notes(path: Path) -> list[str]:
    """What is odd in a file's header though it can be read, in sentences; only NIfTI has such oddities.

    Raises:
        DataError: as `read_stack`, of which only the header is read.
    """
    if is_dicom(path) or format_of(path) is not nifti:
        return []
    with _telling(path):
        return nifti.header_notes(path)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Errors of the libraries underneath as a `DataError` that names the file."""
    try:
        yield
    except MedsegError:
        raise
    except MemoryError:
        raise DataError(
            f"{path} needs more memory than there is.", "Close other programs, or cut it to size."
        ) from None
    except Exception as error:  # damaged files raise a dozen unrelated types in the libraries underneath
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    """The error of a library, told with what the file seems to be."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(
            f"{path} cannot be opened: {error.strerror}.", "Check its permissions, and the drive it is on."
        )
    kind = kind_of(path)
    return DataError(
        f"{path} cannot be read as {split_suffix(path)[1] or 'DICOM'}: {reason}.",
        "It is damaged or incomplete, or not of this format at all"
        + (f"; its first bytes are those of {kind}" if kind else "")
        + ": copy or export it again.",
    )
