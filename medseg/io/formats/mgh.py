"""Read and write FreeSurfer's MGH (.mgh, .mgz); https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat."""

from __future__ import annotations

from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.io.formats import content, gz
from medseg.io.formats.stack import Stack, check_reference, native, smallest_integer, usable_affine

_HEADER_BYTES = 284


def read(path: Path) -> Stack:
    """Read numbers as stored, frames as volumes.

    Returns:
        The voxels with their geometry.

    Raises:
        DataError: the file is damaged.
    """
    header = _header(path)
    sizes, dtype = _sizes(header, path), header.get_data_dtype().newbyteorder(">")
    what = f"{' x '.join(map(str, sizes))} of {dtype}"
    data = content.body(path, _HEADER_BYTES, prod(sizes) * dtype.itemsize, what)
    array = native(np.frombuffer(data, dtype).reshape(sizes[::-1]))[:, np.newaxis]
    return Stack(array, _affine(header, path))


def write(path: Path, image: Image, like: Path | None) -> None:
    """Write a label map as uint8, int16 or int32, the integers that MGH has.

    Args:
        path: the file.
        image: one channel of whole numbers.
        like: the scan; of an MGH file, the geometry fields are copied as they stand.

    Raises:
        DataError: a value does not fit, or `like` is on another grid.
    """
    import nibabel as nib

    kind: type = {1: np.uint8, 2: np.int16}.get(smallest_integer(image.array).itemsize, np.int32)
    low, high = int(image.array.min()), int(image.array.max())
    if (kind is np.uint8 and low < 0) or (kind is np.int16 and high > np.iinfo(np.int16).max):
        kind = np.int16 if kind is np.uint8 else np.int32
    if low < np.iinfo(kind).min or high > np.iinfo(kind).max:
        raise DataError(f"{path} cannot hold the label values {low} to {high}.", "Write .nii.gz instead.")
    answer = nib.MGHImage(image.array[0].transpose().astype(kind), image.affine)
    if like is not None and like.name.lower().endswith((".mgh", ".mgz")):
        header = _header(like)
        check_reference(image, _sizes(header, like)[:3], _affine(header, like), like)
        for name in ("delta", "Mdc", "Pxyz_c", "goodRASFlag"):
            answer.header[name] = header[name]
    stream = BytesIO()
    answer.to_file_map({"image": nib.FileHolder(fileobj=stream)})
    data = stream.getvalue()
    if path.name.lower().endswith("z"):
        data = b"".join(gz.pack([data]))
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _header(path: Path) -> Any:
    """Return the header as nibabel's, after a check that it is one and has a geometry."""
    from nibabel.freesurfer.mghformat import MGHHeader

    begin = content.start(path, _HEADER_BYTES)
    header = MGHHeader(begin.ljust(_HEADER_BYTES, b"\0"), check=False)
    if int(header["version"]) != 1:
        raise ValueError(f"its version is {int(header['version'])}; expected 1")
    if begin[28:30] != b"\0\1":  # goodRASFlag; nibabel would assume a geometry
        raise DataError(
            f"{path} does not say where its voxels lie (its goodRASFlag is not 1).",
            "Set its geometry, for example with FreeSurfer's mri_convert, or convert it to NIfTI.",
        )
    return header


def _sizes(header: Any, path: Path) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in header["dims"])
    if min(sizes) < 1:
        raise content.damaged(path, f"its sizes are {sizes}")
    return sizes


def _affine(header: Any, path: Path) -> NDArray[np.float64]:
    return usable_affine(np.array(header.get_affine(), dtype=np.float64), path, "Its geometry")
