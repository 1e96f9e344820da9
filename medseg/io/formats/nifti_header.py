"""Read NIfTI headers: their kind, their geometry, where the voxels lie, and what is odd about them."""

from __future__ import annotations

import logging
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import affine_from
from medseg.core.image import GRID_TOLERANCE_VOXELS, Image
from medseg.io.formats import content, gz
from medseg.io.formats.stack import usable_affine

HEADER_BYTES = 540
_MM = {"meter": 1000.0, "micron": 0.001}
_UNREAD = {
    0: "numbers of an unknown type",
    1: "single bits",
    32: "complex numbers",
    1536: "numbers of 128 bits",
    1792: "complex numbers",
    2048: "complex numbers of 256 bits",
}
"""Types of voxels by their code that medseg does not read."""
_CIFTI = range(3000, 3100)
_PAIRS = ((".hdr", ".img"), (".HDR", ".IMG"))
_MOST_DIMENSIONS = 5
_LONGEST_QUATERNION = -1e-3
"""Least 1 - b² - c² - d² of a qform. Below 0 it is a rounding too long and stands for 0, as in nifti1_io.c and ITK;
nibabel refuses what is below three times the precision of float32, which real headers are."""
_MOST_PACKED = 1032
"""How many times smaller deflate makes content at best."""
_quiet = logging.Logger("medseg.nifti")  # nibabel reports what is odd twice: to its log, and in its exceptions
_quiet.addHandler(logging.NullHandler())


def read_header(path: Path) -> Any:
    """Return the header at the start of a file, as one of nibabel's (untyped, hence Any).

    Raises:
        DataError: it is not a NIfTI header, or not that of a scan, or cannot be understood.
    """
    begin = content.start(path, HEADER_BYTES)
    header = _kind(begin, path)
    header.quaternion_threshold = _LONGEST_QUATERNION
    if int(header["datatype"]) in _UNREAD:
        raise DataError(
            f"{path} holds {_UNREAD[int(header['datatype'])]}; expected whole or real numbers of at most 64 bits.",
            "Save it with one number of at most 64 bits per voxel; of complex numbers, for example the magnitude.",
        )
    header.check_fix(logger=_quiet, error_level=40)
    if int(header["intent_code"]) in _CIFTI:
        raise DataError(
            f"{path} is a CIFTI file (intent {int(header['intent_code'])}), not a scan: it holds values on surfaces or "
            "between regions.",
            "Expected a volume of voxels; wb_command -cifti-separate writes the volume part of such files as NIfTI.",
        )
    return header


def header_path(path: Path) -> Path:
    """Return the file that holds the header: the other one of a pair for `.img`."""
    return next((header for name in _partners(path, "img") if (header := path.with_name(name)).is_file()), path)


def has_extensions(path: Path) -> bool:
    """Return whether something follows the header of a single file before its voxels, as its first bytes say."""
    begin = content.start(path, HEADER_BYTES + 1)
    size = 348 if begin[344:347] == b"n+1" else HEADER_BYTES if begin[4:7] == b"n+2" else len(begin)
    return begin[size : size + 1] not in (b"", b"\0")


def data_path(path: Path, header: Any) -> Path:
    """Return the file that holds the voxels.

    Args:
        path: the file that holds the header.
        header: its header.

    Raises:
        DataError: it is missing.
    """
    if header["magic"].tobytes()[:2] == b"n+":
        return path
    names = _partners(path, "hdr")
    data = next((other for name in names if (other := path.with_name(name)).is_file()), None)
    if data is None:
        expected = f"; there is no {names[0]} beside it" if names else ", and its name does not end in .hdr"
        raise DataError(
            f"{path} is the header of a pair of files{expected}.",
            "Copy both files of the pair, NAME.hdr and NAME.img (or NAME.img.gz), into one folder.",
            "no data",
        )
    return data


def shape_of(header: Any, path: Path) -> tuple[int, ...]:
    """Return the shape (x, y, z, time, component), with ones for the dimensions that the file does not have.

    Raises:
        DataError: fewer than two dimensions, more than these, or an empty one.
    """
    stored = tuple(int(length) for length in header.get_data_shape())
    shape = stored
    while len(shape) > _MOST_DIMENSIONS and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= _MOST_DIMENSIONS or min(shape) < 1:
        raise DataError(
            f"{path} has the shape {stored}; expected (x, y), (x, y, z), (x, y, z, t) or (x, y, z, t, component).",
            "Save each point in time, or each direction, as a file or a channel of its own.",
        )
    return (*shape, *[1] * (_MOST_DIMENSIONS - len(shape)))


def affine_of(header: Any, path: Path) -> NDArray[np.float64]:
    """Return the affine in millimetres: sform, else qform, else the spacings, as nibabel decides.

    A single slice without thickness gets 1 mm along its normal.

    Raises:
        DataError: it has no inverse.
    """
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= _MM.get(_units(header)[0], 1.0)
    if (*header.get_data_shape(), 1, 1)[2] == 1:
        steps = affine[:3, :3].T
        affine = affine_from(steps if steps[2].any() else steps[:2], affine[:3, 3])
    return usable_affine(affine, path, "Its sform, or its qform and spacings,")


def numbers_of(header: Any) -> tuple[float, float, float] | None:
    """Return the header's spacing (z, y, x) without its unit, as nnU-Net's NibabelIO takes it; None if it is in mm."""
    if _MM.get(_units(header)[0], 1.0) == 1:
        return None
    x, y, z = (float(size) if size > 0 else 1.0 for size in (*header.get_zooms(), 1.0, 1.0)[:3])
    return z, y, x


def in_time(header: Any) -> bool:
    """Return whether the fourth dimension is declared as time: it has a unit of time and a step."""
    return _units(header)[1] in ("sec", "msec", "usec") and float(header["pixdim"][4]) > 0


def header_notes(path: Path) -> list[str]:
    """Return what is odd in a header although the file can be read, in sentences; only the header is read.

    Raises:
        DataError: as `read_header`.
    """
    path = header_path(path)
    header = read_header(path)
    return notes_of(header, path, shape_of(header, path), affine_of(header, path))


def notes_of(header: Any, path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> list[str]:
    """Return the `header_notes` of a header that was read.

    Args:
        header: one of nibabel's.
        path: the file that holds it.
        shape: as `shape_of` returns it.
        affine: as `affine_of` returns it.
    """
    codes = int(header["sform_code"]), int(header["qform_code"])
    notes = []
    if codes == (0, 0):
        notes.append(
            "has neither sform nor qform, so it does not say which side is left: x is taken to run from right to left, "
            "as in Analyze files"
        )
    elif min(codes) > 0:
        notes.extend(_disagreement(header, shape, affine))
    notes.extend(_missing_sizes(header, path, shape))
    slope = float(header["scl_slope"]) if "scl_slope" in header else 1.0  # Analyze has none
    if np.isinf(slope):  # NaN and 0 stand for no scaling
        notes.append(
            f"has the slope {slope:g}, with which nothing can be scaled: its numbers are read as they are stored"
        )
    return notes + _leftover(header, path, shape)


def _missing_sizes(header: Any, path: Path, shape: tuple[int, ...]) -> list[str]:
    """Return a note if the spacings are used and one is 0, which stands for unknown; nibabel makes 1 of it."""
    if int(header["sform_code"]) > 0:
        return []
    stored = _kind(content.start(path, HEADER_BYTES), path)["pixdim"][1:4].tolist()  # `header` has been corrected
    axes = [axis for axis, size, length in zip("xyz", stored, shape[:3], strict=True) if size == 0 and length > 1]
    return [f"has a spacing of 0 along {', '.join(axes)}, which is read as 1 mm: its size is not known"] if axes else []


def _disagreement(header: Any, shape: tuple[int, ...], sform: NDArray[np.float64]) -> list[str]:
    """Return a note if qform and sform are both set and describe different grids."""
    try:
        qform = np.array(header.get_qform(), dtype=np.float64)
    except ValueError as error:  # not a unit quaternion
        return [f"has a qform that is broken ({error}); its sform is used"]
    qform[:3] *= _MM.get(_units(header)[0], 1.0)
    if np.array_equal(qform, sform):
        return []
    grid = np.broadcast_to(np.uint8(0), (1, *shape[2::-1]))
    difference_voxels = Image(grid, sform).grid_difference_voxels(Image(grid, qform))
    if difference_voxels <= GRID_TOLERANCE_VOXELS:
        return []
    return [f"has a qform and a sform that disagree by {difference_voxels:.3g} voxels at a corner; its sform is used"]


def _leftover(header: Any, path: Path, shape: tuple[int, ...]) -> list[str]:
    """Return a note if there is more content than the header declares: perhaps the header belongs to another file."""
    if header["magic"].tobytes()[:2] != b"n+":
        return []
    declared = int(header.get_data_offset()) + prod(shape) * header.get_data_dtype().itemsize
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(2) == gz.MAGIC:
            stream.seek(-4, 2)
            packed = size
            size = int.from_bytes(stream.read(4), "little")  # of the last part, modulo 4 GB
            if size > packed * _MOST_PACKED:
                return ["ends in bytes that belong to nothing, which are ignored"]
            declared %= 1 << 32
    return [f"holds {size - declared} bytes more than its header declares"] if size > declared else []


def _units(header: Any) -> tuple[str, str]:
    """Return the units of space and time."""
    try:
        space, time = header.get_xyzt_units()
    except KeyError:  # a code that means nothing
        return "unknown", "unknown"
    return space, time


def _kind(begin: bytes, path: Path) -> Any:
    """Return nibabel's header of the kind that the first bytes of a file are."""
    import nibabel as nib

    if begin[344:347] in (b"n+1", b"ni1"):
        return nib.Nifti1Header(begin[:348], check=False)
    if begin[4:7] in (b"n+2", b"ni2"):
        return nib.Nifti2Header(begin, check=False)
    sizes = {int.from_bytes(begin[:4], order) for order in ("little", "big")}
    if 348 in sizes and len(begin) >= 348:
        raise DataError(
            f"{path} is an Analyze 7.5 file: it does not say which side is left, and what programs assume differs.",
            "Convert it to NIfTI with the program that wrote it, or one that knows its convention.",
        )
    kind = content.kind_of(path)
    seen = f"those of {kind}" if kind else "not those of a header"
    raise DataError(
        f"{path} cannot be read as NIfTI: its first bytes are {seen}.",
        "It is damaged or incomplete, or another format under this name: copy, rename or export it again.",
    )


def _partners(path: Path, ending: str) -> list[str]:
    """Return possible names of the other file of a pair, for a path that ends in `.hdr` or `.img`, packed or not."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    for pair in _PAIRS:
        suffix, other = pair if ending == "hdr" else pair[::-1]
        if name.endswith(suffix):
            stem = name[: -len(suffix)]
            return [stem + other, stem + other + ".gz", stem + other + ".GZ"]
    return []
