"""NRRD with attached (.nrrd) and detached (.nhdr) header; https://teem.sourceforge.net/nrrd/format.html.

World coordinates are turned to RAS+ as the field `space` says; without one they are taken for LPS, as in ITK.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.named.slicer import header_lines, read_segments
from medseg.io.formats.stack import Stack, check_reference, mm_in, native, opaque, smallest_integer, usable_affine

_SUFFIXES = (".nrrd", ".nhdr")
_MOST_SKIPPED_LINES = 10_000
_MOST_HEADER_BYTES = 1 << 22
_MOST_AXES = 16  # NRRD's own limit
_TYPE_NAMES = {
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
_DTYPES = {name: code for code, names in _TYPE_NAMES.items() for name in names}
"""NumPy's names of types by NRRD's."""
_OF_AXES = ("space directions", "spacings", "centerings", "units")
_GEOMETRY = ("space", "space dimension", "space units", "space origin", *_OF_AXES)
"""Fields that an answer copies from its scan."""
_TEXT = ("text", "txt", "ascii")
"""Names of the encoding in which numbers are written out."""
_PER_AXIS = (*_OF_AXES, "kinds")
_IN_SPACE = ("domain", "space", "???", "none")
_IN_TIME = ("time", "list")
_COLOURS_WITH_ALPHA = ("rgba-color", "4-color")
_TO_RAS = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0, 1.0]),
}
_LPS = ("", "left-posterior-superior", "lps")
_ALIASES = {"centers": "centerings", "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}


def read(path: Path) -> Stack:
    """Read numbers as stored; axes that do not lie in space are components, or volumes if they are time or a list.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged, or of a kind that medseg does not read.
    """
    header = _read_header(path)
    dtype = header.dtype()
    array = np.frombuffer(_data(header, dtype), dtype).reshape(header.sizes[::-1])
    # NRRD counts axes from the fastest, NumPy from the slowest
    order = [len(header.sizes) - 1 - axis for axis in header.volumes + header.components + header.spatial[::-1]]
    array = native(array.transpose(order))
    volumes = prod(header.sizes[axis] for axis in header.volumes)
    grid = [header.sizes[axis] for axis in header.spatial[::-1]]
    array = array.reshape(volumes, -1, *[1] * (3 - len(grid)), *grid)
    if header.has_alpha:
        array = opaque(array, path)
    affine = usable_affine(header.affine(), path, "Its space directions, or spacings,")
    return Stack(array, affine, header.spacing_known, header.in_time, notes=header.notes())


def parts(path: Path) -> list[Path]:
    """Return the files of header and voxels, also of a header with several files of voxels, which is not read."""
    header = _read_header(path)
    name, _, numbers = header.fields.get("data file", "").partition(" ")
    if "%" in name and numbers:
        pattern = re.compile(re.sub(r"%\d*d", r"\\d+", re.escape(name)))
        return [path, *(file for file in sorted(path.parent.iterdir()) if pattern.fullmatch(file.name))]
    return [path, header.data_file()]


def segments(path: Path) -> list[Segment]:
    """Return the segments that the header of a 3D Slicer segmentation names; [] for other files."""
    try:
        header = _read_header(path)
        with path.open("rb") as stream:
            text = stream.read(header.end).decode("utf-8", "replace")
    except (OSError, ValueError, DataError):
        return []  # reading the file says what is wrong
    return read_segments(text, layered=bool(header.volumes or header.components))


def write(path: Path, image: Image, like: Path | None, named: Sequence[Segment] = ()) -> None:
    """Write a label map in the smallest type, packed.

    Args:
        path: the file.
        image: one channel of whole numbers; several are layers, as 3D Slicer has them for segments that overlap.
        like: the scan; the geometry fields of a NRRD file are copied as they stand.
        named: names and colours of values, which become a segmentation of 3D Slicer.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    layers = len(image.array)
    header = _read_header(like) if like is not None and like.name.lower().endswith(_SUFFIXES) else None
    if header is not None and like is not None:
        check_reference(image, [header.sizes[axis] for axis in header.spatial], header.affine(), like)
        geometry, dimensions = _copied_geometry(header), len(header.spatial)
    else:
        geometry, dimensions = _geometry_lines(image), 3
    array = image.array.reshape(*[layers] * (layers > 1), *image.shape_zyx[3 - dimensions :])
    if layers > 1:  # the layers of a voxel lie together
        array = np.moveaxis(array, 0, -1)
        geometry = [_with_layers(line) for line in geometry]
    kind = smallest_integer(array)
    lines = [
        "NRRD0005",
        f"type: {next(name for name, code in _DTYPES.items() if np.dtype(code) == kind)}",
        f"dimension: {array.ndim}",
        f"sizes: {' '.join(map(str, array.shape[::-1]))}",
        f"kinds: {' '.join(['list'] * (layers > 1) + ['domain'] * dimensions)}",
        "endian: little",
        "encoding: gzip",
        *geometry,
        *(header_lines(named, image.array) if named else []),
    ]
    voxels = np.ascontiguousarray(array, kind.newbyteorder("<")).tobytes()
    with atomic(path) as temporary, temporary.open("wb") as stream:
        stream.write("\n".join(lines).encode() + b"\n\n")
        stream.writelines(gz.pack([voxels]))


@dataclass(frozen=True)
class _Header:
    """The header of a file.

    Attributes:
        path: the file that it stands in.
        fields: values by name in lower case.
        end: the byte of the file at which it ends.
        sizes: the sizes of the axes, the fastest first.
        spatial: the axes that lie in space.
        components: the axes of colours or vectors.
        volumes: the axes of time, or of a list.
    """

    path: Path
    fields: dict[str, str]
    end: int
    sizes: tuple[int, ...]
    spatial: list[int] = field(default_factory=list)
    components: list[int] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)

    def per_axis(self, name: str) -> list[str] | None:
        """Return the values of a field that has one for each axis; None for other fields, and for an absent one."""
        if name not in _PER_AXIS or name not in self.fields:
            return None
        pattern = r"none|\([^()]*\)" if name == "space directions" else r'"[^"]*"|\S+'
        values = re.findall(pattern, self.fields[name])
        if len(values) != len(self.sizes):
            raise content.damaged(self.path, f"its field {name!r} has {len(values)} values for {len(self.sizes)} axes")
        return values

    @property
    def encoding(self) -> str:
        """How the voxels are encoded: raw, gzip, bzip2 or text."""
        return self.fields.get("encoding", "").lower()

    def whole_number(self, name: str) -> int:
        """Return the whole number in a field; 0 if it is absent."""
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

    def notes(self) -> tuple[str, ...]:
        """Return a sentence where the space has no left and right of a patient: `scanner-xyz`, or a name misspelt."""
        space = self.fields.get("space", "")
        if self._space() in (*_TO_RAS, *_LPS):
            return ()
        return (
            f"{self.path.name} has the space {space!r}, which does not say which side is left: it is taken for "
            "left-posterior-superior, as in ITK",
        )

    def _space(self) -> str:
        return self.fields.get("space", "").lower().removesuffix("-time")

    def dtype(self) -> np.dtype:
        """Return the type of a number, in the byte order of the file."""
        name = self.fields.get("type", "").lower()
        if name not in _DTYPES:
            raise DataError(f"{self.path} has the type {name!r}; expected whole or real numbers.", "Save it as those.")
        dtype = np.dtype(_DTYPES[name])
        endian = self.fields.get("endian", "").lower()
        if dtype.itemsize > 1 and endian not in ("little", "big") and self.encoding not in _TEXT:
            raise content.damaged(self.path, f"its field 'endian' is {endian!r}; expected little or big")
        return dtype.newbyteorder(">" if endian == "big" else "<")

    def affine(self) -> NDArray[np.float64]:
        """Return the affine: (x, y, z) indices to RAS+ mm."""
        directions = self.per_axis("space directions")
        if directions is not None:
            edges = [_numbers(directions[axis])[:3] for axis in self.spatial]
            scale = _unit(self.fields.get("space units", ""))
        else:
            spacings = self.per_axis("spacings") or ["1"] * len(self.sizes)
            edges = [np.eye(3)[number] * float(spacings[axis]) for number, axis in enumerate(self.spatial)]
            units = self.per_axis("units")
            scale = _unit(units[self.spatial[0]]) if units else 1.0
        origin = _numbers(self.fields.get("space origin", "(0,0,0)"))[:3]
        stored = affine_from([edge * scale for edge in edges], origin * scale)
        return _TO_RAS.get(self._space(), LPS_TO_RAS) @ stored

    def data_file(self) -> Path:
        """Return the file that holds the voxels."""
        name = self.fields.get("data file")
        if name is None:
            return self.path
        path = declared_beside(name, self.path.parent)
        if name.upper().startswith("LIST") or "%" in name:
            raise DataError(
                f"{self.path} has its voxels in several files ({name}).",
                "Save it as one file, for example with 3D Slicer.",
            )
        if not path.is_file():
            raise DataError(
                f"{self.path} is a header; there is no file {name} with its voxels.",
                "Copy both files into one folder, under the names that the header gives them.",
                "no data",
            )
        return path


def _read_header(path: Path) -> _Header:
    """Read the header of a file.

    Raises:
        DataError: it cannot be understood.
        ValueError: it is not a NRRD file.
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
        raise content.damaged(path, "its header does not end")
    sizes = tuple(int(size) for size in fields.get("sizes", "").split())
    if not sizes or len(sizes) > _MOST_AXES or min(sizes) < 1 or fields.get("dimension") != str(len(sizes)):
        raise content.damaged(path, f"its sizes are {fields.get('sizes')!r} in {fields.get('dimension')!r} dimensions")
    return _sort_axes(_Header(path, fields, blank.end() if blank else len(begin), sizes))


def _sort_axes(header: _Header) -> _Header:
    """Return the header with its axes sorted into those of space, of volumes and of components.

    Axes of space are those with a direction; in a header without directions, those whose kind is of space.
    """
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
    return replace(header, spatial=spatial, components=components, volumes=volumes)


def _numbers(vector: str) -> NDArray[np.float64]:
    return np.array([float(part) for part in vector.strip("()").split(",")])


def _unit(units: str) -> float:
    """Return millimetres in the first of some units; 1 if it is not a unit of length."""
    names: Sequence[str] = re.findall(r'"([^"]*)"|(\S+)', units)
    first = next(("".join(name) for name in names), "")
    return mm_in(first) or 1.0


def _copied_geometry(header: _Header) -> list[str]:
    """Return the lines of a header that say where its voxels lie, as they stand there, for the axes in space only."""
    lines = []
    for name in _GEOMETRY:
        if name not in header.fields:
            continue
        parts = header.per_axis(name)
        value = header.fields[name] if parts is None else " ".join(parts[axis] for axis in header.spatial)
        lines.append(f"{name}: {value}")
    return lines


def _with_layers(line: str) -> str:
    """Return a line of `_GEOMETRY` for a file whose first axis are layers, which lie nowhere in space."""
    name, _, value = line.partition(": ")
    nothing = {"space directions": "none", "spacings": "nan", "centerings": "???", "units": '""'}.get(name)
    return line if nothing is None else f"{name}: {nothing} {value}"


def _geometry_lines(image: Image) -> list[str]:
    """Return the lines that say where the voxels of an image lie."""
    if not image.spacing_known:
        return []
    affine = LPS_TO_RAS @ image.affine
    directions = " ".join(_vector(affine[:3, axis]) for axis in range(3))
    return [
        "space: left-posterior-superior",
        f"space directions: {directions}",
        f"space origin: {_vector(affine[:3, 3])}",
    ]


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(repr(value) for value in values.tolist())})"


def _data(header: _Header, dtype: np.dtype) -> memoryview | bytes:
    """Return the bytes of the voxels, unpacked and without what is to be skipped before them."""
    path, encoding = header.data_file(), header.encoding
    count = prod(header.sizes) * dtype.itemsize
    what = f"{' x '.join(map(str, header.sizes))} of {dtype}"
    skip = header.whole_number("byte skip")
    with path.open("rb") as stream:
        stream.seek(header.end if path == header.path else 0)
        for _ in range(min(header.whole_number("line skip"), _MOST_SKIPPED_LINES)):
            stream.readline()
        if encoding == "raw":
            begin = path.stat().st_size - count if skip == -1 else stream.tell() + skip
            return content.plain(stream, begin, count, path, what)
        rest = stream.read()
    if encoding in ("gzip", "gz", "bzip2", "bz2"):
        return content.unpack(rest, max(skip, 0) + count, path, what)[max(skip, 0) :]
    if encoding in _TEXT:
        return content.written_out(rest, prod(header.sizes), dtype, path, what)
    raise DataError(
        f"{header.path} has the encoding {encoding!r}; expected raw, gzip, bzip2 or text.",
        "Save it with one of these, for example with 3D Slicer.",
    )
