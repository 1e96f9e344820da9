"""Read what only SimpleITK reads: MRC (electron microscopy, .mrc) and images in VTK's legacy format (.vtk).

ITK claims the memory that a header declares before it reads a voxel, and reads a VTK file that is cut off without an
error. So a file that does not hold what its header declares is refused before ITK reads it.
"""

from __future__ import annotations

import locale
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats.content import damaged, incomplete, written_out
from medseg.io.formats.stack import Stack, usable_affine

_MRC_HEADER_BYTES = 1024
_MRC_MARK, _MRC_MARK_AT = b"MAP ", 208  # https://www.ccpem.ac.uk/mrc_format/mrc2014.php
_VTK_HEADER_BYTES = 4096  # more than the title (at most 256 characters) and a dozen short lines take
_VTK_IMAGE = re.compile(rb"DATASET\s+STRUCTURED_POINTS", re.IGNORECASE)
_VTK_LAST_LINE = re.compile(
    rb"^[ \t]*(?:SCALARS[^\n]*\n(?:[ \t]*LOOKUP_TABLE[^\n]*\n)?|(?:COLOR_SCALARS|VECTORS|TENSORS)[^\n]*\n)",
    re.IGNORECASE | re.MULTILINE,
)
_VTK_TEXT = re.compile(rb"^ASCII\b", re.IGNORECASE | re.MULTILINE)


def is_mrc(path: Path) -> bool:
    """Return whether a file has the mark of MRC at its place in the header."""
    with path.open("rb") as stream:
        stream.seek(_MRC_MARK_AT)
        return stream.read(len(_MRC_MARK)) == _MRC_MARK


def read_mrc(path: Path) -> Stack:
    """Read an MRC file; its axes run to left, posterior and superior, as ITK takes them.

    MRC's unit is the angstrom. Its numbers are used as millimetres, as ITK does, since the label maps drawn on such
    files have them too; a note says so.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or holds complex numbers.
    """
    if not is_mrc(path):
        raise ValueError("it does not have the mark of MRC at byte 208")
    image = _read(path, "MRCImageIO", _MRC_HEADER_BYTES)
    note = f"{path} is an MRC file, whose unit is the angstrom: its sizes are used as if they were in mm"
    return replace(image, notes=(note,))


def is_vtk_image(path: Path) -> bool:
    """Return whether a .vtk file is an image, and not a mesh; True for a file that cannot be looked at."""
    try:
        with path.open("rb") as stream:
            return _VTK_IMAGE.search(stream.read(_VTK_HEADER_BYTES)) is not None
    except OSError:
        return True


def read_vtk(path: Path) -> Stack:
    """Read the image in a VTK legacy file (structured points), in text or not; its axes are taken for LPS, as in ITK.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or holds something else than an image, such as a mesh.
    """
    if not is_vtk_image(path):
        raise DataError(
            f"{path} is not an image: its data set is not STRUCTURED_POINTS.",
            "Expected voxels, not a mesh or other grids.",
        )
    with path.open("rb") as stream:
        begin = stream.read(_VTK_HEADER_BYTES)
    last_line = _VTK_LAST_LINE.search(begin)
    if last_line is None:
        raise ValueError("it has no field SCALARS, COLOR_SCALARS, VECTORS or TENSORS")
    return _read(path, "VTKImageIO", last_line.end(), _VTK_TEXT.search(begin[: last_line.start()]) is not None)


@contextmanager
def _same_locale() -> Iterator[None]:
    """Put the locale back: ITK's VTK reader sets that of the process to C, and Python then opens text as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@_same_locale()
def _read(path: Path, reader_name: str, header_bytes: int, text: bool = False) -> Stack:
    """Read a file with one of ITK's readers, after a look at how much it declares.

    Args:
        path: the file.
        reader_name: ITK's name of the reader, so that nothing else is tried.
        header_bytes: bytes of the file before its voxels, at least.
        text: whether numbers are written out, each with a space after it.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    pixels = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", pixels)
    if bits is None or "complex" in pixels:
        raise DataError(f"{path} holds pixels of the type {pixels!r}; expected whole or real numbers.", "Convert it.")
    sizes, components = reader.GetSize(), reader.GetNumberOfComponents()
    count = prod(sizes) * components
    if count == 0:
        raise damaged(path, f"its sizes are {sizes}")
    needed = 2 * count - 1 if text else count * (int(bits[1]) // 8)
    available = path.stat().st_size - header_bytes
    if needed > available:
        raise incomplete(path, f"{' x '.join(map(str, sizes))} of {pixels}", needed, max(0, available))
    if text:  # ITK stops without an error at what is not a number
        with path.open("rb") as stream:
            stream.seek(header_bytes)
            written_out(stream.read(), count, np.dtype(np.float64), path, f"{count} numbers")
    image = Image.from_sitk(reader.Execute())
    affine = usable_affine(np.array(image.affine), path, "Its spacing")
    return Stack(image.array[np.newaxis], affine)
