"""Read and write GIPL (Guy's Image Processing Lab): 256 bytes of header, big-endian, packed with gzip or not.

The axes run to left, posterior and superior, as in ITK: the header has no direction that programs agree on.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import Image
from medseg.io.formats import content, gz
from medseg.io.formats.stack import Stack, check_reference, native, smallest_integer, usable_affine

_HEADER_BYTES = 256
_MAGIC = (0xEFFFE9B0, 0x2AE389B8)
_DTYPES = {1: "u1", 7: "i1", 8: "u1", 15: ">i2", 16: ">u2", 31: ">u4", 32: ">i4", 64: ">f4", 65: ">f8"}
_WRITTEN = {"uint8": 8, "int8": 7, "int16": 15, "uint16": 16}  # those that ITK also reads
_SIZES, _TYPE, _SPACING, _ORIGIN, _MAGIC_AT = 0, 8, 10, 204, 252  # bytes at which the fields stand
_MOST_VOXELS = 65535  # along an axis: sizes are stored in 16 bits


def read(path: Path) -> Stack:
    """Read numbers as stored, a fourth dimension as volumes.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or of a kind that medseg does not read.
    """
    header = _header(path)
    sizes, code = _sizes(header), struct.unpack_from(">H", header, _TYPE)[0]
    if code not in _DTYPES:
        raise DataError(f"{path} has the type {code}; expected one of {', '.join(map(str, _DTYPES))}.", "Convert it.")
    dtype = np.dtype(_DTYPES[code])
    what = f"{' x '.join(map(str, sizes))} of {dtype}"
    data = content.body(path, _HEADER_BYTES, prod(sizes) * dtype.itemsize, what)
    array = native(np.frombuffer(data, dtype).reshape(sizes[::-1]))[:, np.newaxis]
    return Stack(array, usable_affine(_affine(header), path, "Its spacing"))


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write a label map in the smallest type.

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: the scan; of a GIPL file, spacing and origin are copied as they stand.

    Raises:
        DataError: the grid is turned or sheared, which GIPL cannot say, or differs from that of `like`.
    """
    kind = smallest_integer(image.array)
    steps = (LPS_TO_RAS @ image.affine)[:3]
    if like is not None and like.name.lower().endswith((".gipl", ".gipl.gz")):
        header = bytearray(_header(like))
        check_reference(image, _sizes(header)[:3], _affine(bytes(header)), like)
    elif np.abs(steps[:, :3] - np.diag(np.abs(np.diag(steps)))).max() > 1e-6 * np.abs(steps[:, :3]).max():
        raise DataError(f"{path}: GIPL cannot say how the axes of this grid run.", "Write .nii.gz instead.")
    else:
        header = bytearray(_HEADER_BYTES)
        struct.pack_into(">4f", header, _SPACING, *image.spacing_mm[::-1], 1.0)
        struct.pack_into(">4d", header, _ORIGIN, *steps[:, 3], 0.0)
        struct.pack_into(">I", header, _MAGIC_AT, _MAGIC[0])
    if kind.name not in _WRITTEN or max(image.shape_zyx) > _MOST_VOXELS:
        raise DataError(f"{path} cannot hold {kind} values on a grid of {image.shape_zyx}.", "Write .nii.gz instead.")
    struct.pack_into(">4H", header, _SIZES, *image.shape_zyx[::-1], 1)
    struct.pack_into(">H", header, _TYPE, _WRITTEN[kind.name])
    data = bytes(header) + np.ascontiguousarray(image.array[0], kind.newbyteorder(">")).tobytes()
    if path.name.lower().endswith(".gz"):
        data = b"".join(gz.pack([data]))
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _header(path: Path) -> bytes:
    """Return the bytes of a header after a look at its mark."""
    header = content.start(path, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES or struct.unpack_from(">I", header, _MAGIC_AT)[0] not in _MAGIC:
        raise ValueError("it does not have the mark of GIPL at byte 252")
    return header


def _sizes(header: bytes | bytearray) -> tuple[int, ...]:
    """Return the voxels along x, y, z and volumes; a size of 0 stands for 1."""
    return tuple(max(1, size) for size in struct.unpack_from(">4H", header, _SIZES))


def _affine(header: bytes) -> NDArray[np.float64]:
    spacing = [abs(step) or 1.0 for step in struct.unpack_from(">3f", header, _SPACING)]
    return LPS_TO_RAS @ affine_from(np.diag(spacing), struct.unpack_from(">3d", header, _ORIGIN))
