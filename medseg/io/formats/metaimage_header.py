"""The header of a MetaImage: fields, types, and where the voxels lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.io.formats import content

_MOST_HEADER_BYTES = 1 << 20
DTYPES = {
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
MATRIX = ("TransformMatrix", "Rotation", "Orientation")  # names of one field, the first is today's
OFFSET = ("Offset", "Position", "Origin")
SPACING = ("ElementSpacing", "ElementSize")
GEOMETRY = (*MATRIX, *OFFSET, *SPACING, "AnatomicalOrientation", "CenterOfRotation")


@dataclass(frozen=True)
class Header:
    """A header: the file, its fields, where it ends, and the sizes along x, y (and z, and volumes)."""

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
        """The type of a number, in the byte order of the file."""
        name = self.fields.get("ElementType", "").removesuffix("_ARRAY")
        if name not in DTYPES:
            raise DataError(f"{self.path} has the type {name!r}; expected one of {', '.join(DTYPES)}.")
        high_first = self._yes("ElementByteOrderMSB") or self._yes("BinaryDataByteOrderMSB")
        return np.dtype((">" if high_first else "<") + DTYPES[name])

    def numbers(self, names: tuple[str, ...], default: NDArray[np.float64]) -> NDArray[np.float64]:
        """The first of some fields that is there, as numbers."""
        text = next((self.fields[name] for name in names if name in self.fields), None)
        values = default if text is None else np.array([float(part) for part in text.split()])
        if values.size != default.size:
            raise content.damaged(self.path, f"its {names[0]} has {values.size} numbers instead of {default.size}")
        return values

    def affine(self) -> NDArray[np.float64]:
        """(x, y, z) indices to RAS+ mm; a row of TransformMatrix is the direction of an axis."""
        count = len(self.sizes)
        matrix = self.numbers(MATRIX, np.eye(count).ravel())
        spacing = self.numbers(SPACING, np.ones(count))
        offset = self.numbers(OFFSET, np.zeros(count))
        edges = (matrix.reshape(count, count) * spacing[:, np.newaxis])[:3, :3]
        return LPS_TO_RAS @ affine_from(edges, offset[:3])

    def packed(self) -> bool:
        """Whether the voxels are compressed."""
        return self._yes("CompressedData")

    def written_out(self) -> bool:
        """Whether the voxels are numbers in text."""
        return "BinaryData" in self.fields and not self._yes("BinaryData")

    def _yes(self, name: str) -> bool:
        return self.fields.get(name, "").lower() in ("true", "1")


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        DataError: it cannot be understood.
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
    header = Header(path, fields, last.end(), sizes)
    if not 1 <= header.channels <= 1 << 16:
        raise content.damaged(path, f"it declares {header.channels} channels")
    return header


def data_file(header: Header) -> Path:
    """The file that holds the voxels.

    Raises:
        DataError: it is not there, or is several.
    """
    name = header.fields["ElementDataFile"]
    path = header.path if name.upper() == "LOCAL" else header.path.parent / name
    if name.upper().startswith("LIST") or "%" in name:
        raise DataError(f"{header.path} has its voxels in several files ({name}).", "Save it as one .mha file.")
    if not path.is_file():
        raise DataError(
            f"{header.path} is a header; there is no file {name} with its voxels.",
            "Copy both files into one folder, under the names that the header gives them.",
            "no data",
        )
    return path
