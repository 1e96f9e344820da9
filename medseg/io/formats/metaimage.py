"""MetaImage, in one file (.mha) or two (.mhd with .raw or .zraw); https://itk.org/Wiki/ITK/MetaIO/Documentation.

World coordinates are LPS, as ITK takes them, and are turned to RAS+.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.files import atomic
from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import Image
from medseg.io.formats import content, gz
from medseg.io.formats.metaimage_header import DTYPES, GEOMETRY, MATRIX, OFFSET, SPACING, Header, data_file, read_header
from medseg.io.formats.nifti import smallest_integer
from medseg.io.formats.stack import Stack, check_reference, native, usable_affine

_SUFFIXES = (".mha", ".mhd")


def read(path: Path) -> Stack:
    """Read numbers as stored: a fourth dimension as volumes, channels as components.

    Raises:
        DataError: the file is damaged, or of a kind that medseg does not read.
    """
    header = read_header(path)
    dtype = header.dtype()
    volumes, *grid = (*header.sizes[::-1],) if len(header.sizes) == 4 else (1, *header.sizes[::-1])
    array = np.frombuffer(_data(header, dtype), dtype).reshape(volumes, *grid, header.channels)
    array = native(np.moveaxis(array, -1, 1)).reshape(volumes, header.channels, *[1] * (3 - len(grid)), *grid)
    affine = usable_affine(header.affine(), path, "Its TransformMatrix or ElementSpacing")
    return Stack(array, affine, header.spacing_known)


def parts(path: Path) -> list[Path]:
    """The files of header and voxels."""
    return [path, data_file(read_header(path))]


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write one channel of whole numbers in the smallest type, packed; geometry fields are those of a MetaImage `like`.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    array = image.array[0]
    if like is not None and like.name.lower().endswith(_SUFFIXES):
        header = read_header(like)
        count = min(3, len(header.sizes))
        check_reference(image, header.sizes[:3], header.affine(), like)
        geometry, array = _copied(header, count), array.reshape(array.shape[3 - count :])
    else:
        geometry, count = _made(image), 3
    kind = smallest_integer(array)
    packed = gz.engine.compress(np.ascontiguousarray(array, kind.newbyteorder("<")).tobytes(), 1)
    fields = {
        "ObjectType": "Image",
        "NDims": str(count),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(packed)),
        **geometry,
        "DimSize": " ".join(map(str, array.shape[::-1])),
        "ElementType": next(name for name, code in DTYPES.items() if np.dtype(code) == kind),
        "ElementDataFile": "LOCAL",
    }
    with atomic(path) as temporary:
        temporary.write_bytes("".join(f"{name} = {value}\n" for name, value in fields.items()).encode() + packed)


def _copied(header: Header, count: int) -> dict[str, str]:
    """The fields of `like` that say where its voxels lie, as they stand there but for a dimension of volumes."""
    if len(header.sizes) == count:
        return {name: header.fields[name] for name in GEOMETRY if name in header.fields}
    whole = len(header.sizes)
    matrix = header.numbers(MATRIX, np.eye(whole).ravel())
    return {
        "TransformMatrix": _text(matrix.reshape(whole, whole)[:count, :count]),
        "Offset": _text(header.numbers(OFFSET, np.zeros(whole))[:count]),
        "ElementSpacing": _text(header.numbers(SPACING, np.ones(whole))[:count]),
    }


def _made(image: Image) -> dict[str, str]:
    affine = LPS_TO_RAS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not image.spacing_known:
        return {}
    return {
        "TransformMatrix": _text((affine[:3, :3] / spacing).T),
        "Offset": _text(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _text(spacing),
    }


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(repr(value) for value in values.ravel().tolist())


def _data(header: Header, dtype: np.dtype) -> bytes | memoryview:
    """The bytes of the voxels, unpacked."""
    path = data_file(header)
    count = prod(header.sizes) * header.channels
    what = f"{' x '.join(map(str, header.sizes))} of {dtype}" + f" x {header.channels}" * (header.channels > 1)
    skip, size = int(header.fields.get("HeaderSize", "0")), path.stat().st_size
    begin = (header.end if path == header.path else 0) + max(skip, 0)
    if skip == -1 and not header.packed():
        begin = max(0, size - count * dtype.itemsize)
    with path.open("rb") as stream:
        if not header.packed() and not header.written_out():
            return content.plain(stream, begin, count * dtype.itemsize, path, what)
        stream.seek(begin)
        rest = stream.read()
    if header.packed():
        return content.unpack(rest, count * dtype.itemsize, path, what)
    return content.written_out(rest, count, dtype, path, what)
