"""NIfTI-1 and NIfTI-2 files, compressed or not.

The affine is the one that nibabel answers with (sform, else qform, else the header's spacings), in millimetres.
"""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError
from medseg.files import atomic
from medseg.image import Image, describe_grid_difference

_MM = {"meter": 1000.0, "micron": 0.001}
_GZIP = b"\x1f\x8b"
_HEADER_BYTES = 540
_MOST_NIFTI1_VOXELS = 32767
_FLATTEST = 1e-6  # volume of a voxel as a share of what its edges would span at right angles
_QFORM = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_GEOMETRY = ("pixdim", "xyzt_units", "sform_code", "srow_x", "srow_y", "srow_z", *_QFORM)


def read(path: Path) -> Image:
    """Read a scan: plain integers keep their type, everything else becomes float32.

    Raises:
        DataError: the file is damaged, not a scan, or holds NaN or infinity.
    """
    image = read_mask(path)
    if image.array.dtype.kind in "iu" or image.array.dtype == np.float32:
        return image
    with np.errstate(over="ignore"):  # a value beyond float32 turns to infinity, which is refused next
        array = image.array.astype(np.float32)
    _check_finite(array, path)
    return image.with_array(array)


def read_mask(path: Path) -> Image:
    """Read without loss: plain integers as stored, scaled ones as float64.

    Raises:
        DataError: as `read`.
    """
    try:
        data = _bytes(path)
        image = _class(data).from_bytes(data)
        dtype, affine, unit = image.get_data_dtype(), image.affine, image.header.get_xyzt_units()[0]
        array = np.asanyarray(image.dataobj) if dtype.kind in "iuf" else None
    except Exception as error:  # damaged files raise a dozen unrelated types in nibabel, gzip and numpy
        raise DataError(
            f"{path} cannot be read as NIfTI: {' '.join(str(error).split()) or type(error).__name__}.",
            "The file is damaged or incomplete (or not NIfTI at all): copy or export it again.",
        ) from error
    if array is None:
        kind = "colours" if dtype.fields else "complex numbers"
        raise DataError(
            f"{path} holds {kind} ({dtype}); expected whole or real numbers.",
            "Save it with one number per voxel and channel: channels as the fourth dimension, or a file for each.",
        )
    array = _channels_first(array, path)
    _check_finite(array, path)
    return Image(array, _affine(affine, unit, array.shape[1], path))


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write one channel of whole numbers in the smallest type; the geometry fields are those of `like` if it is NIfTI.

    Raises:
        DataError: `like` is on another grid than the image.
    """
    import nibabel as nib

    array = image.array[0].transpose()
    reference = _reference(like, image) if like is not None else None
    wide = reference is not None and reference["sizeof_hdr"] == 540
    kind: Any = nib.Nifti2Image if wide or max(array.shape) > _MOST_NIFTI1_VOXELS else nib.Nifti1Image
    header = kind.header_class()
    if reference is None:
        header.set_data_shape(array.shape)
        header.set_xyzt_units("mm" if image.spacing_known else "unknown")
        _set_affine(header, image.affine)
    else:
        array = array.reshape(reference.get_data_shape()[:3])  # a 2D file is answered by a 2D file
        header.set_data_shape(array.shape)
        for name in _GEOMETRY:
            header[name] = reference[name]
    array = array.astype(smallest_integer(array))
    header.set_data_dtype(array.dtype)
    data = kind(array, None, header).to_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=1, mtime=0)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def smallest_integer(array: NDArray) -> np.dtype:
    """Smallest integer type that holds every value of the array."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return np.min_scalar_type(high if low >= 0 else min(low, -high - 1))


def _bytes(path: Path) -> bytes:
    # whole, because nibabel stops before the checksum at the end, and a damaged file would pass unnoticed
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == _GZIP else data


def _class(data: bytes) -> Any:
    """nibabel's image class for a file that starts so (untyped, hence Any here and below)."""
    import nibabel as nib

    kinds = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
    sizes = [struct.unpack(order + "i", data[:4])[0] for order in "<>"] if len(data) >= 4 else [f"{len(data)} bytes"]
    found = [kinds[size] for size in sizes if size in kinds]
    if not found:
        raise ValueError(f"the header's size field is {sizes[0]}, expected 348 or 540")
    return found[0]


def _channels_first(array: NDArray, path: Path) -> NDArray:
    """(x, y[, z[, channel]]) as nibabel gives it, to (channel, z, y, x) in the machine's byte order."""
    stored = array.shape
    if array.ndim == 5 and stored[3] == 1:  # ITK keeps a time axis in front of the channels
        array = array[:, :, :, 0]
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if not 2 <= array.ndim <= 4 or 0 in stored:
        raise DataError(
            f"{path} has the shape {stored}; expected (x, y), (x, y, z) or (x, y, z, channel).",
            "Save each point in time, or each direction, as a file or a channel of its own.",
        )
    while array.ndim < 4:
        array = array[..., np.newaxis]
    return np.ascontiguousarray(array.transpose()).astype(array.dtype.newbyteorder("="), copy=False)


def _check_finite(array: NDArray, path: Path) -> None:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    odd = np.argwhere(~np.isfinite(array))
    raise DataError(
        f"{path} holds NaN or infinity in {len(odd)} of {array.size} voxels, the first at "
        f"(channel, z, y, x) = {tuple(odd[0].tolist())}.",
        "Replace them by the value that stands for 'nothing' in this scan (0 in MR, -1024 in CT).",
    )


def _affine(stored: NDArray, unit: str, slices: int, path: Path) -> NDArray[np.float64]:
    """The affine in millimetres; a single slice without thickness gets 1 mm along its normal."""
    affine = np.array(stored, dtype=np.float64)
    affine[:3] *= _MM.get(unit, 1.0)
    if slices == 1 and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    edges = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(edges)) <= _FLATTEST * np.linalg.norm(edges, axis=0).prod():
        raise DataError(
            f"{path} has an affine without an inverse: {affine[:3].tolist()}; its voxels have no volume.",
            "Its sform, or its qform and spacings, are broken: set them, for example with nibabel or fslorient.",
        )
    return affine


def _reference(like: Path, image: Image) -> Any:
    """The header of `like`, None if it is in another format."""
    if not like.name.lower().endswith((".nii", ".nii.gz")):
        return None
    with like.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    with gzip.open(like) if packed else like.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    header = _class(start).header_class.from_fileobj(io.BytesIO(start))
    shape = (*header.get_data_shape()[:3], 1)[:3]
    affine = _affine(header.get_best_affine(), header.get_xyzt_units()[0], shape[2], like)
    grid = Image(np.broadcast_to(np.uint8(0), (1, *shape[::-1])), affine)
    if not image.same_grid(grid):
        raise DataError(f"The answer lies on another grid than {like}: {describe_grid_difference(image, grid)}.")
    return header


def _set_affine(header: Any, affine: NDArray[np.float64]) -> None:
    from nibabel.spatialimages import HeaderDataError

    header.set_sform(affine, code="scanner")
    try:
        header.set_qform(affine, code="scanner", strip_shears=False)
    except HeaderDataError:  # a sheared grid has no qform
        header.set_qform(None, code="unknown")
