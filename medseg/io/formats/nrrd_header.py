"""The header of a NRRD file: fields, kinds of axes, and where the voxels lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.io.formats.content import damaged
from medseg.io.formats.stack import mm_in

_MOST_HEADER_BYTES = 1 << 22
_MOST_AXES = 16  # NRRD's own limit
_SYNONYMS = {
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int8": ("signed char", "int8", "int8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
DTYPES = {name: code for code, names in _SYNONYMS.items() for name in names}
"""NumPy's names of types by NRRD's."""
GEOMETRY = (
    "space",
    "space dimension",
    "space units",
    "space origin",
    "space directions",
    "spacings",
    "centerings",
    "units",
)
"""Fields that an answer takes over from its scan."""
TEXT = ("text", "txt", "ascii")
"""Names of the encoding in which numbers are written out."""
_PER_AXIS = ("space directions", "spacings", "centerings", "centers", "kinds", "units")
_IN_SPACE = ("domain", "space", "???", "none")
_IN_TIME = ("time", "list")
_COLOURS_WITH_ALPHA = ("rgba-color", "4-color")
_TO_RAS = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
_ALIASES = {"centers": "centerings", "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}


@dataclass(frozen=True)
class Header:
    """A header in its parts.

    Attributes:
        path: the file that it stands in.
        fields: values by name in lower case.
        end: where in the file it ends.
        sizes: of the axes, the fastest first.
        spatial, components, volumes: which of the axes lie in space, hold colours or vectors, time or a list.
    """

    path: Path
    fields: dict[str, str]
    end: int
    sizes: tuple[int, ...]
    spatial: list[int] = field(default_factory=list)
    components: list[int] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)

    def per_axis(self, name: str) -> list[str] | None:
        """The values of a field that has one for each axis; None for other fields, and where it is absent."""
        if name not in _PER_AXIS or name not in self.fields:
            return None
        pattern = r"none|\([^()]*\)" if name == "space directions" else r'"[^"]*"|\S+'
        values = re.findall(pattern, self.fields[name])
        if len(values) != len(self.sizes):
            raise damaged(self.path, f"its field {name!r} has {len(values)} values for {len(self.sizes)} axes")
        return values

    @property
    def encoding(self) -> str:
        """How the voxels are packed."""
        return self.fields.get("encoding", "").lower()

    def whole(self, name: str) -> int:
        """A field that holds a whole number; 0 where it is absent."""
        return int(self.fields.get(name, "0"))

    @property
    def spacing_known(self) -> bool:
        """Whether the header says how large a voxel is."""
        return "space directions" in self.fields or "spacings" in self.fields

    @property
    def in_time(self) -> bool:
        """Whether an axis is said to be time."""
        kinds = self.per_axis("kinds") or []
        return any(kinds[axis].lower() == "time" for axis in self.volumes if kinds)

    @property
    def has_alpha(self) -> bool:
        """Whether the components are colours with transparency."""
        kinds = self.per_axis("kinds") or []
        return any(kinds[axis].lower() in _COLOURS_WITH_ALPHA for axis in self.components if kinds)

    def dtype(self) -> np.dtype:
        """The type of a number, in the byte order of the file."""
        name = self.fields.get("type", "").lower()
        if name not in DTYPES:
            raise DataError(f"{self.path} has the type {name!r}; expected whole or real numbers.", "Save it as those.")
        dtype = np.dtype(DTYPES[name])
        endian = self.fields.get("endian", "").lower()
        if dtype.itemsize > 1 and endian not in ("little", "big") and self.encoding not in TEXT:
            raise damaged(self.path, f"its field 'endian' is {endian!r}; expected little or big")
        return dtype.newbyteorder(">" if endian == "big" else "<")

    def affine(self) -> NDArray[np.float64]:
        """(x, y, z) indices to RAS+ mm."""
        name = self.fields.get("space", "").lower().removesuffix("-time")
        directions = self.per_axis("space directions")
        if directions is not None:
            edges = [_numbers(directions[axis])[:3] for axis in self.spatial]
            scale = _unit(self.fields.get("space units", ""))
        else:
            spacings = self.per_axis("spacings") or ["1"] * len(self.sizes)
            edges = [np.eye(3)[place] * float(spacings[axis]) for place, axis in enumerate(self.spatial)]
            units = self.per_axis("units")
            scale = _unit(units[self.spatial[0]]) if units else 1.0
        origin = _numbers(self.fields.get("space origin", "(0,0,0)"))[:3]
        stored = affine_from([edge * scale for edge in edges], origin * scale)
        return _TO_RAS.get(name, LPS_TO_RAS) @ stored

    def data_file(self) -> Path:
        """The file that holds the voxels."""
        name = self.fields.get("data file")
        if name is None:
            return self.path
        found = self.path.parent / name
        if name.upper().startswith("LIST") or "%" in name:
            raise DataError(
                f"{self.path} has its voxels in several files ({name}).",
                "Save it as one file, for example with 3D Slicer.",
            )
        if not found.is_file():
            raise DataError(
                f"{self.path} is a header; there is no file {name} with its voxels.",
                "Copy both files into one folder, under the names that the header gives them.",
                "no data",
            )
        return found


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        DataError: it is not one of NRRD, or cannot be understood.
    """
    with path.open("rb") as stream:
        begin = stream.read(_MOST_HEADER_BYTES)
    blank = re.search(rb"\r?\n\r?\n", begin)
    text = begin[: blank.start()] if blank else begin
    lines = text.decode("utf-8", "replace").splitlines()
    if not lines or not lines[0].startswith("NRRD"):
        raise ValueError("it does not start with NRRD")
    fields = {}
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if separator and not line.startswith("#") and not value.startswith("="):  # key:=value is free text
            key = name.strip().lower()
            fields[_ALIASES.get(key, key)] = value.strip()
    if not blank and "data file" not in fields:
        raise damaged(path, "its header does not end")
    sizes = tuple(int(size) for size in fields.get("sizes", "").split())
    if not sizes or len(sizes) > _MOST_AXES or min(sizes) < 1 or fields.get("dimension") != str(len(sizes)):
        raise damaged(path, f"its sizes are {fields.get('sizes')!r} in {fields.get('dimension')!r} dimensions")
    header = Header(path, fields, blank.end() if blank else len(begin), sizes)
    return _sort_axes(header)


def _sort_axes(header: Header) -> Header:
    """Which axes lie in space: those with a direction, or else those whose kind does not say otherwise."""
    axes = range(len(header.sizes))
    kinds = [kind.lower() for kind in header.per_axis("kinds") or ["domain"] * len(axes)]
    directions = header.per_axis("space directions")
    if directions is not None:
        spatial = [axis for axis in axes if directions[axis] != "none" and _numbers(directions[axis])[:3].any()]
    else:
        spatial = [axis for axis in axes if kinds[axis] in _IN_SPACE][:3]  # a fourth is taken for volumes
    others = [axis for axis in axes if axis not in spatial]
    if "complex" in (kinds[axis] for axis in others):
        raise DataError(f"{header.path} holds complex numbers.", "Save their magnitude, for example.")
    if not 2 <= len(spatial) <= 3:
        raise DataError(f"{header.path} has {len(spatial)} axes in space; expected 2 or 3.", "Save it as a volume.")
    volumes = [axis for axis in others if kinds[axis] in (*_IN_TIME, *_IN_SPACE)]
    components = [axis for axis in others if axis not in volumes]
    return Header(header.path, header.fields, header.end, header.sizes, spatial, components, volumes)


def _numbers(vector: str) -> NDArray[np.float64]:
    return np.array([float(part) for part in vector.strip("()").split(",")])


def _unit(units: str) -> float:
    """Millimetres in the first of some units; 1 if it is not one of length."""
    names: Sequence[str] = re.findall(r'"([^"]*)"|(\S+)', units)
    first = next(("".join(name) for name in names), "")
    return mm_in(first) or 1.0
