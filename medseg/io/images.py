"""Read and write image files of every format: scans and label maps in, label maps out.

No reader turns or flips anything: an array comes as (channel, z, y, x) with an affine that says how it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image
from medseg.core.numbered_objects import mark_boundaries
from medseg.core.outside import without_nan_in_label
from medseg.io.annotations.coco import split_reference
from medseg.io.formats.content import damaged, kind_of
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.stack import Stack
from medseg.io.formats.table import FORMATS, answer_suffix, format_of, is_dicom, refuse_unknown, split_suffix
from medseg.io.several_files import is_by_structure, united_files
from medseg.io.values.label_values import interpret_values, map_values
from medseg.io.values.named_masks import named_otherwise, read_named_masks
from medseg.io.values.objects import objects_in
from medseg.io.values.united import unite
from medseg.plans.sections.reading import Reading

AS_STORED = Reading()
"""The reading of label files whose values need no interpretation."""


def read_image(path: Path, frame: int | None = None) -> Image:
    """Read a scan as (channel, z, y, x): integers where the file stores plain integers, else float32.

    Values beyond float32 stay float64; NaN and infinity are kept.

    Args:
        path: the file, or a DICOM series (`FOLDER#KEY`).
        frame: which of several volumes (of a 4D file) to read, from 0; None for all of them, as channels. A file of one
            volume is that volume, whatever `frame` says.

    Returns:
        The scan on its grid.

    Raises:
        DataError: the file is missing, damaged, of an unknown format, or has no such frame.
    """
    path = Path(path)
    return narrow_floats(read_stack(path).image(path, frame))


def read_label(path: Path, reading: Reading = AS_STORED, grid: Image | None = None) -> Image:
    """Read a label map as (1, z, y, x) integers; whole numbers stored as floating point are accepted.

    Args:
        path: the file, a folder with a mask for each structure, or an image's annotations in a JSON file of COCO
            (`FILE.json#image-ID`).
        reading: how the user said that values are meant: soft masks, colours, other values, time series, and structures
            by their names.
        grid: the scan, on whose grid contours (RTSTRUCT) and frames (DICOM SEG) are drawn. None for the grid of the
            series that they refer to, if it lies beside them.

    Returns:
        The label map, with the values that are meant.

    Raises:
        DataError: as `read_image`, or the file has several channels, or values that are not whole numbers.
    """
    path = Path(path)
    label = _read_values(path, reading, grid)
    if not reading.boundaries:
        return label
    numbers = objects_in(path, label, reading, read_label)
    return label.with_array(mark_boundaries(label.array[0], numbers, reading.boundaries)[np.newaxis])


def read_objects(path: Path, reading: Reading = AS_STORED, grid: Image | None = None, answer: bool = False) -> Image:
    """Read which object each voxel of a label belongs to, as (1, z, y, x) numbers from 1; 0 is the background.

    Args:
        path: as in `read_label`; see `io.values.objects` for how objects are told apart.
        reading: as in `read_label`; boundaries belong to their objects.
        grid: as in `read_label`.
        answer: whether it is an answer, whose map of numbers lies beside it and not beside its folder.

    Returns:
        The numbers of the objects, with the geometry of the label.

    Raises:
        DataError: as `read_label`.
    """
    label = _read_values(Path(path), reading, grid)
    return label.with_array(objects_in(Path(path), label, reading, read_label, answer)[np.newaxis])


def _read_values(path: Path, reading: Reading, grid: Image | None) -> Image:
    """Read a label map with the values that are meant, without boundaries."""
    if is_dicom(path):
        from medseg.io.dicom.labels.label_objects import read_label_object  # loaded only for DICOM

        with _library_errors(path):
            image = read_label_object(path, reading, grid)
        return image.with_array(map_values(image.array, reading.map)) if reading.map else image
    if masks := united_files(path):
        return unite([_read_values(mask, reading, grid) for mask in masks], masks)
    if is_by_structure(path) or split_reference(path) or (reading.segments and named_otherwise(path, reading.segments)):
        with _library_errors(path):
            image = read_named_masks(path, reading, read_label, grid)
        return image.with_array(map_values(image.array, reading.map)) if reading.map else image
    # values of a mask with a palette are its indices, unless the user said what its colours mean
    image = without_nan_in_label(read_stack(path, mask=not reading.colours).image(path, reading.frame), str(path))
    return image.with_array(interpret_values(image.array, path, reading))


def write_label(path: Path, image: Image, like: Path | None = None, named: Sequence[Segment] = ()) -> list[Path]:
    """Write (1, z, y, x) whole numbers in the smallest integer type, under a temporary name first.

    Args:
        path: the file; its format follows from its suffix.
        image: the label map on its grid.
        like: the scan that the labels belong to. If it is of the same family of formats, its geometry fields are
            copied as they stand.
        named: names and colours of values; formats that have no place for them leave them out.

    Returns:
        The file, and those that the writer of a registered format put beside it.

    Raises:
        DataError: the format cannot hold the image or its values, or `like` lies on another grid.
    """
    path = Path(path)
    suffix = split_suffix(path)[1]
    if suffix not in FORMATS:
        refuse_unknown(path)
    write, write_named = FORMATS[suffix].write, FORMATS[suffix].write_named
    if write is None:
        raise DataError(f"{path}: label maps are not written as {suffix}.", f"Write {answer_suffix(path)} instead.")
    scan = None if like is None else Path(like)
    named_too = named and write_named is not None
    written = write_named(path, image, scan, named) if named_too else write(path, image, scan)  # type: ignore[misc]
    return written or [path]


def read_stack(path: Path, mask: bool = False, reading: Reading = AS_STORED) -> Stack:
    """Read everything that a file or a DICOM series holds; see `Stack`.

    Args:
        path: the file or series.
        mask: whether label values are wanted as they are stored, not as the colours that they are shown in.
        reading: what the user allowed for DICOM series that are not regular volumes.

    Returns:
        All its volumes.

    Raises:
        DataError: the file is missing, damaged or of an unknown format, or the series is not a volume.
    """
    if is_dicom(path):
        from medseg.io.dicom.pixels.volume import read_series_stack  # loaded only for DICOM

        with _library_errors(path):
            return read_series_stack(path, reading)
    file_format = format_of(path)
    read = file_format.read_mask if mask and file_format.read_mask is not None else file_format.read
    with _library_errors(path):
        stack = read(path)
    if 0 in stack.array.shape:
        raise damaged(path, f"it holds no voxels (its shape is {stack.array.shape[2:]})", "no data")
    return stack


def narrow_floats(image: Image) -> Image:
    """Return a scan with its integers as they are, and other values as float32 unless finite ones do not fit."""
    array = image.array
    if array.dtype.kind in "iu" or array.dtype == np.float32:
        return image
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    fits = np.array_equal(np.isfinite(narrow), np.isfinite(array))
    return image.with_array(narrow if fits else array)


def header_notes(path: Path) -> list[str]:
    """Return what is odd in a file's header although the file can be read, in sentences; only the header is read.

    Raises:
        DataError: as `read_stack`.
    """
    notes = None if is_dicom(path) else format_of(path).header_notes
    if notes is None:
        return []
    with _library_errors(path):
        return notes(path)


@contextmanager
def _library_errors(path: Path) -> Iterator[None]:
    """Turn the errors of the libraries underneath into a `DataError` that names the file."""
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
    """Return the error for a file on which a library failed, with what the file seems to be."""
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
