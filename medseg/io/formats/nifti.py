"""Read and write NIfTI-1 and NIfTI-2: single files and pairs of header and data, compressed or not.

The affine is the one that nibabel chooses (sform, else qform, else the header's spacings), in millimetres.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.io.formats import content, gz
from medseg.io.formats.named.caret import CODE, read_table, write_table
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.nifti_header import (
    affine_of,
    data_path,
    has_extensions,
    header_notes,
    header_path,
    in_time,
    notes_of,
    numbers_of,
    read_header,
    shape_of,
)
from medseg.io.formats.stack import Stack, check_reference, native, opaque, smallest_integer

__all__ = ["header_notes", "read", "segments", "write"]

_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_MOST_NIFTI1_VOXELS = 32767
_EXTENSION_FLAG_BYTES = 4
_MOST_EXTENSION_BYTES = 1 << 23
_NATIVE = "<" if sys.byteorder == "little" else ">"
_QFORM = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_GEOMETRY = ("pixdim", "xyzt_units", "sform_code", "srow_x", "srow_y", "srow_z", *_QFORM)


def read(path: Path) -> Stack:
    """Read plain integers and floats as stored, scaled ones as float64, colours as components.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or not a scan.
    """
    given_path, path = path, header_path(path)
    header = read_header(path)
    shape, dtype, colours = shape_of(header, path), *_number(header)
    count, offset = prod(shape) * colours * dtype.itemsize, int(header.get_data_offset())
    if offset < 0:
        raise content.damaged(path, f"its header declares that the voxels start at byte {offset}")
    sizes = " x ".join(str(size) for size in header.get_data_shape())
    what = f"{sizes} voxels of {dtype}" + f" x {colours}" * (colours > 1)
    data = content.body(data_path(path, header) if given_path == path else given_path, offset, count, what)
    # x runs fastest in the file, except that the colours of a voxel lie together
    stored = np.frombuffer(data, dtype).reshape(*shape[::-1], colours)
    array = native(np.moveaxis(stored, (1, 0, 5), (0, 1, 2))).reshape(shape[3], -1, *shape[2::-1])
    array = _scaled(array, header)
    affine = affine_of(header, path)
    notes = tuple(f"{given_path} {note}" for note in notes_of(header, path, shape, affine))
    array = opaque(array, path) if colours == 4 else array
    spacing = numbers_of(header)
    return Stack(array, affine, in_time=shape[3] > 1 and in_time(header), notes=notes, nnunet_spacing=spacing)


def segments(path: Path) -> list[Segment]:
    """Return the structures that an extension of the header names; [] for other files."""
    try:
        path = header_path(path)
        if not has_extensions(path):
            return []
        header = read_header(path)
        offset = int(header.get_data_offset())
        more = content.start(path, min(offset, _MOST_EXTENSION_BYTES))[header.sizeof_hdr :]
        if len(more) < _EXTENSION_FLAG_BYTES:
            return []
        extensions = header.exts_klass.from_fileobj(
            io.BytesIO(more[_EXTENSION_FLAG_BYTES:]), len(more) - _EXTENSION_FLAG_BYTES, header.endianness != _NATIVE
        )
    except Exception:  # extensions may be damaged in any way, and voxels are read without them
        return []
    return read_table(extensions)


def write(path: Path, image: Image, like: Path | None, named: Sequence[Segment] = ()) -> None:
    """Write a label map in the smallest type.

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: the scan; of a NIfTI file, the geometry fields are copied as they stand.
        named: names and colours of values, which become an extension of the header.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    kind, header = new_header(image, like)
    array = image.array[0].transpose().reshape(header.get_data_shape())
    array = array.astype(smallest_integer(array))
    header.set_data_dtype(array.dtype)
    if named:
        from nibabel.nifti1 import Nifti1Extension

        header.extensions.append(Nifti1Extension(CODE, write_table(named)))
    data = kind(array, None, header).to_bytes()
    if path.name.lower().endswith(".gz"):
        data = b"".join(gz.pack([data]))
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def new_header(image: Image, like: Path | None) -> tuple[Any, Any]:
    """Return nibabel's class for an image, and its header without the type of the voxels.

    Args:
        image: the image, of which only the grid counts.
        like: a NIfTI file whose geometry fields are copied; other formats are ignored.

    Returns:
        The class (`Nifti1Image` or `Nifti2Image`), and the header.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    import nibabel as nib

    shape = image.shape_zyx[::-1]
    reference = _reference(like, image) if like is not None else None
    wide = reference is not None and reference["sizeof_hdr"] == 540
    kind: Any = nib.Nifti2Image if wide or max(shape) > _MOST_NIFTI1_VOXELS else nib.Nifti1Image
    header = kind.header_class()
    if reference is None:
        header.set_data_shape(shape)
        header.set_xyzt_units("mm" if image.spacing_known else "unknown")
        _set_affine(header, image.affine)
    else:
        header.set_data_shape(reference.get_data_shape()[:3])  # a 2D file is answered by a 2D file
        for name in _GEOMETRY:
            header[name] = reference[name]
    return kind, header


def parts(path: Path) -> list[Path]:
    """Return the files of a pair; the file itself if it is none."""
    header = header_path(path)
    return [header, data_path(header, read_header(header)) if header == path else path]


def _number(header: Any) -> tuple[np.dtype, int]:
    """Return the type of a voxel's numbers, and how many it has: 1, or 3 and 4 for colours."""
    dtype = header.get_data_dtype()
    if dtype.fields and len(dtype.fields) in (3, 4):
        return np.dtype(np.uint8), len(dtype.fields)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"its voxels have the type {dtype}")
    return dtype, 1


def _scaled(array: NDArray, header: Any) -> NDArray:
    """Return stored numbers times slope plus intercept, in float64; numbers without scaling as they are."""
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope == 1 and not intercept):
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array * float(slope) + float(intercept or 0)


def _reference(like: Path, image: Image) -> Any:
    """Return the header of `like` after a check of its grid; None if it is in another format."""
    if not like.name.lower().endswith(_SUFFIXES):
        return None
    like = header_path(like)
    header = read_header(like)
    check_reference(image, shape_of(header, like)[:3], affine_of(header, like), like)
    return header


def _set_affine(header: Any, affine: NDArray[np.float64]) -> None:
    """Set the sform, and the qform too if the grid has one."""
    from nibabel.spatialimages import HeaderDataError

    header.set_sform(affine, code="scanner")
    try:
        header.set_qform(affine, code="scanner", strip_shears=False)
    except HeaderDataError:  # of a sheared grid, which a quaternion cannot express
        header.set_qform(None, code="unknown")
