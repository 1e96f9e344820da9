"""NRRD, with attached (.nrrd) and detached (.nhdr) header; https://teem.sourceforge.net/nrrd/format.html.

World coordinates are turned to RAS+ as the field `space` says; without one they are taken for LPS, as in ITK.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import Image
from medseg.io.formats import content, gz
from medseg.io.formats.nifti import smallest_integer
from medseg.io.formats.nrrd_header import DTYPES, GEOMETRY, TEXT, Header, read_header
from medseg.io.formats.stack import Stack, check_reference, native, opaque, usable_affine

_SUFFIXES = (".nrrd", ".nhdr")
_MOST_LINES = 10_000


def read(path: Path) -> Stack:
    """Read numbers as stored; axes that do not lie in space are components, or volumes if they are time or a list.

    Raises:
        DataError: the file is damaged, or of a kind that medseg does not read.
    """
    header = read_header(path)
    dtype = header.dtype()
    array = np.frombuffer(_data(header, dtype), dtype).reshape(header.sizes[::-1])
    places = [len(header.sizes) - 1 - axis for axis in header.volumes + header.components + header.spatial[::-1]]
    array = native(array.transpose(places))
    volumes = prod(header.sizes[axis] for axis in header.volumes)
    grid = [header.sizes[axis] for axis in header.spatial[::-1]]
    array = array.reshape(volumes, -1, *[1] * (3 - len(grid)), *grid)
    if header.has_alpha:
        array = opaque(array, path)
    affine = usable_affine(header.affine(), path, "Its space directions, or spacings,")
    return Stack(array, affine, header.spacing_known, header.in_time)


def parts(path: Path) -> list[Path]:
    """The files of header and voxels."""
    return [path, read_header(path).data_file()]


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write one channel of whole numbers in the smallest type, packed; geometry fields are those of a NRRD `like`.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    array = image.array[0]
    header = read_header(like) if like is not None and like.name.lower().endswith(_SUFFIXES) else None
    if header is not None and like is not None:
        check_reference(image, [header.sizes[axis] for axis in header.spatial], header.affine(), like)
        geometry, dimensions = _copied(header), len(header.spatial)
    else:
        geometry, dimensions = _made(image), 3
    array = array.reshape(array.shape[3 - dimensions :])
    kind = smallest_integer(array)
    lines = [
        "NRRD0005",
        f"type: {next(name for name, code in DTYPES.items() if np.dtype(code) == kind)}",
        f"dimension: {dimensions}",
        f"sizes: {' '.join(map(str, array.shape[::-1]))}",
        f"kinds: {' '.join(['domain'] * dimensions)}",
        "endian: little",
        "encoding: gzip",
        *geometry,
    ]
    voxels = np.ascontiguousarray(array, kind.newbyteorder("<")).tobytes()
    with atomic(path) as temporary, temporary.open("wb") as stream:
        stream.write("\n".join(lines).encode() + b"\n\n")
        stream.writelines(gz.pack([voxels]))


def _copied(header: Header) -> list[str]:
    """The fields of `like` that say where its voxels lie, as they stand there, for the axes in space only."""
    lines = []
    for name in GEOMETRY:
        if name not in header.fields:
            continue
        parts = header.per_axis(name)
        value = header.fields[name] if parts is None else " ".join(parts[axis] for axis in header.spatial)
        lines.append(f"{name}: {value}")
    return lines


def _made(image: Image) -> list[str]:
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


def _data(header: Header, dtype: np.dtype) -> memoryview | bytes:
    """The bytes of the voxels, unpacked and without what is to be skipped before them."""
    path, encoding = header.data_file(), header.encoding
    count = prod(header.sizes) * dtype.itemsize
    what = f"{' x '.join(map(str, header.sizes))} of {dtype}"
    skip = header.whole("byte skip")
    with path.open("rb") as stream:
        stream.seek(header.end if path == header.path else 0)
        for _ in range(min(header.whole("line skip"), _MOST_LINES)):
            stream.readline()
        if encoding == "raw":
            begin = path.stat().st_size - count if skip == -1 else stream.tell() + skip
            return content.plain(stream, begin, count, path, what)
        rest = stream.read()
    if encoding in ("gzip", "gz", "bzip2", "bz2"):
        return content.unpack(rest, max(skip, 0) + count, path, what)[max(skip, 0) :]
    if encoding in TEXT:
        return content.written_out(rest, prod(header.sizes), dtype, path, what)
    raise DataError(
        f"{header.path} has the encoding {encoding!r}; expected raw, gzip, bzip2 or text.",
        "Save it with one of these, for example with 3D Slicer.",
    )
