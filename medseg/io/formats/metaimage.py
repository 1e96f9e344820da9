"""MetaImage, in one file (.mha) or two (.mhd with .raw or .zraw); https://itk.org/Wiki/ITK/MetaIO/Documentation.

World coordinates are LPS, as ITK takes them, and are turned to RAS+.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import Image
from medseg.core.names import declared_beside
from medseg.io.formats import content, gz
from medseg.io.formats.stack import Stack, check_reference, mm_in, native, smallest_integer, usable_affine

_SUFFIXES = (".mha", ".mhd")
_MOST_HEADER_BYTES = 1 << 20
_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")  # names of one field, the first is today's
_OFFSET = ("Offset", "Position", "Origin")
_SPACING = ("ElementSpacing", "ElementSize")
_GEOMETRY = (*_MATRIX, *_OFFSET, *_SPACING, "AnatomicalOrientation", "CenterOfRotation", "DistanceUnits")
_LINE = {"ElementToIntensityFunctionSlope": 1.0, "ElementToIntensityFunctionOffset": 0.0}
"""Fields of a line from numbers to intensities, with the values that change nothing."""


def read(path: Path) -> Stack:
    """Read numbers as stored: a fourth dimension as volumes, channels as components.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or of a kind that medseg does not read.
    """
    header = _read_header(path)
    dtype = header.dtype()
    volumes, *grid = (*header.sizes[::-1],) if len(header.sizes) == 4 else (1, *header.sizes[::-1])
    array = np.frombuffer(_data(header, dtype), dtype).reshape(volumes, *grid, header.channels)
    array = native(np.moveaxis(array, -1, 1)).reshape(volumes, header.channels, *[1] * (3 - len(grid)), *grid)
    affine = usable_affine(header.affine(), path, "Its TransformMatrix or ElementSpacing")
    return Stack(array, affine, header.spacing_known, notes=header.notes())


def parts(path: Path) -> list[Path]:
    """Return the files of header and voxels."""
    return [path, _data_file(_read_header(path))]


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write a label map in the smallest type, packed.

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: the scan; the geometry fields of a MetaImage are copied as they stand.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    array = image.array[0]
    if like is not None and like.name.lower().endswith(_SUFFIXES):
        header = _read_header(like)
        count = min(3, len(header.sizes))
        check_reference(image, header.sizes[:3], header.affine(), like)
        geometry, array = _copied_geometry(header, count), array.reshape(array.shape[3 - count :])
    else:
        geometry, count = _geometry_fields(image), 3
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
        "ElementType": next(name for name, code in _DTYPES.items() if np.dtype(code) == kind),
        "ElementDataFile": "LOCAL",
    }
    with atomic(path) as temporary:
        temporary.write_bytes("".join(f"{name} = {value}\n" for name, value in fields.items()).encode() + packed)


@dataclass(frozen=True)
class _Header:
    """The header of a file.

    Attributes:
        path: the file that it stands in.
        fields: values by name.
        end: the byte of the file at which it ends.
        sizes: along x, y (and z, and volumes).
    """

    path: Path
    fields: dict[str, str]
    end: int
    sizes: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Components of a voxel."""
        return int(self.fields.get("ElementNumberOfChannels", "1"))

    @property
    def spacing_known(self) -> bool:
        """Whether the header says how large a voxel is."""
        return "ElementSpacing" in self.fields or "ElementSize" in self.fields

    def dtype(self) -> np.dtype:
        """Return the type of a number, in the byte order of the file."""
        name = self.fields.get("ElementType", "").removesuffix("_ARRAY")
        if name not in _DTYPES:
            raise DataError(f"{self.path} has the type {name!r}; expected one of {', '.join(_DTYPES)}.")
        high_first = self._yes("ElementByteOrderMSB") or self._yes("BinaryDataByteOrderMSB")
        return np.dtype((">" if high_first else "<") + _DTYPES[name])

    def numbers(self, names: tuple[str, ...], default: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers in the first of some fields that is there, as many as the default has."""
        text = next((self.fields[name] for name in names if name in self.fields), None)
        values = default if text is None else np.array([float(part) for part in text.split()])
        if values.size != default.size:
            raise content.damaged(self.path, f"its {names[0]} has {values.size} numbers instead of {default.size}")
        return values

    def affine(self) -> NDArray[np.float64]:
        """Return the affine, (x, y, z) indices to RAS+ mm; a row of TransformMatrix is the direction of an axis."""
        count = len(self.sizes)
        matrix = self.numbers(_MATRIX, np.eye(count).ravel())
        spacing = self.numbers(_SPACING, np.ones(count))
        offset = self.numbers(_OFFSET, np.zeros(count))
        scale = mm_in(self.fields.get("DistanceUnits", "")) or 1.0
        edges = (matrix.reshape(count, count) * spacing[:, np.newaxis])[:3, :3]
        return LPS_TO_RAS @ affine_from(edges * scale, offset[:3] * scale)

    def notes(self) -> tuple[str, ...]:
        """Return a sentence on entries of the header about its numbers that are not applied."""
        stated_values = {name: self.fields[name] for name in _LINE if name in self.fields}
        line = {name: text for name, text in stated_values.items() if not _equals(text, _LINE[name])}
        stated = ", ".join(f"{name} {value}" for name, value in line.items())
        return (f"{self.path} states {stated}, which is not applied to its numbers, as in ITK",) if line else ()

    def packed(self) -> bool:
        """Return whether the voxels are compressed."""
        return self._yes("CompressedData")

    def written_out(self) -> bool:
        """Return whether the voxels are numbers in text."""
        return "BinaryData" in self.fields and not self._yes("BinaryData")

    def _yes(self, name: str) -> bool:
        return self.fields.get(name, "").lower() in ("true", "1")


def _read_header(path: Path) -> _Header:
    """Read the header of a file.

    Raises:
        DataError: it cannot be understood.
        ValueError: it is not a MetaImage.
    """
    with path.open("rb") as stream:
        begin = stream.read(_MOST_HEADER_BYTES)
    last = re.search(rb"(?:^|\n)[ \t]*ElementDataFile[ \t]*=[^\n]*(?:\n|$)", begin)
    if last is None:
        raise ValueError("it has no field ElementDataFile")
    lines = begin[: last.end()].decode("utf-8", "replace").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    sizes = tuple(int(size) for size in fields.get("DimSize", "").split())
    if not 2 <= len(sizes) <= 4 or min(sizes) < 1 or fields.get("NDims") != str(len(sizes)):
        raise content.damaged(path, f"its sizes are {fields.get('DimSize')!r} in {fields.get('NDims')!r} dimensions")
    header = _Header(path, fields, last.end(), sizes)
    if not 1 <= header.channels <= 1 << 16:
        raise content.damaged(path, f"it declares {header.channels} channels")
    return header


def _data_file(header: _Header) -> Path:
    """Return the file that holds the voxels.

    Raises:
        DataError: it is not there, or is several.
    """
    name = header.fields["ElementDataFile"]
    path = header.path if name.upper() == "LOCAL" else declared_beside(name, header.path.parent)
    if name.upper().startswith("LIST") or "%" in name:
        raise DataError(f"{header.path} has its voxels in several files ({name}).", "Save it as one .mha file.")
    if not path.is_file():
        raise DataError(
            f"{header.path} is a header; there is no file {name} with its voxels.",
            "Copy both files into one folder, under the names that the header gives them.",
            "no data",
        )
    return path


def _copied_geometry(header: _Header, count: int) -> dict[str, str]:
    """Return the fields that say where the voxels of a header lie, as they stand there, without a volume axis."""
    if len(header.sizes) == count:
        return {name: header.fields[name] for name in _GEOMETRY if name in header.fields}
    dimensions = len(header.sizes)
    matrix = header.numbers(_MATRIX, np.eye(dimensions).ravel())
    return {
        "TransformMatrix": _text(matrix.reshape(dimensions, dimensions)[:count, :count]),
        "Offset": _text(header.numbers(_OFFSET, np.zeros(dimensions))[:count]),
        "ElementSpacing": _text(header.numbers(_SPACING, np.ones(dimensions))[:count]),
    }


def _geometry_fields(image: Image) -> dict[str, str]:
    """Return the fields that say where the voxels of an image lie."""
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


def _data(header: _Header, dtype: np.dtype) -> bytes | memoryview:
    """Return the bytes of the voxels, unpacked."""
    path = _data_file(header)
    count = prod(header.sizes) * header.channels
    what = f"{' x '.join(map(str, header.sizes))} of {dtype}" + f" x {header.channels}" * (header.channels > 1)
    skip, size = int(header.fields.get("HeaderSize", "0")), path.stat().st_size
    begin = (header.end if path == header.path else 0) + max(skip, 0)
    if skip == -1 and not header.packed():  # -1 means that the voxels stand at the end of the file
        begin = max(0, size - count * dtype.itemsize)
    with path.open("rb") as stream:
        if not header.packed() and not header.written_out():
            return content.plain(stream, begin, count * dtype.itemsize, path, what)
        stream.seek(begin)
        rest = stream.read()
    if header.packed():
        return content.unpack(rest, count * dtype.itemsize, path, what)
    return content.written_out(rest, count, dtype, path, what)


def _equals(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False
