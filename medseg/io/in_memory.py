"""Scans that are in memory already: arrays, nibabel's and SimpleITK's images in, answers of the same kind out.

nibabel and SimpleITK are only imported where one of their images is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS, affine_from
from medseg.core.image import Image
from medseg.io.formats.stack import mm_in, smallest_integer, usable_affine
from medseg.io.images import narrow_floats

Answer = Callable[[Image], Any]
"""Returns labels (1, z, y, x) in the kind of the scan."""
_UNKNOWN_SIDES = (
    "an array does not say how it lies: it is taken as SimpleITK's arrays lie, (z, y, x) with x from right to left, y "
    "from front to back and z from bottom to top; give a medseg.Image if it lies otherwise"
)
_KINDS = "a path, a medseg.Image, an image of nibabel or SimpleITK, or an array with its spacing"


def scan_in_memory(scan: Any, channels: int, spacing: Sequence[float] | None = None) -> tuple[Image, Answer]:
    """Return a scan in memory as an `Image`, and a function that converts its answer to the type of the scan.

    Args:
        scan: a `medseg.Image`, an image of nibabel or SimpleITK, or an array of numpy: (z, y, x) or (channel, z, y, x),
            of 2D images (y, x) or (channel, y, x).
        channels: how many channels the scan is to have; it tells a channel from a slice.
        spacing: of an array, the size of a voxel along its axes z, y and x (y and x) in mm; None where it is unknown.

    Raises:
        DataError: it is none of these, or has a shape that no scan has.
    """
    if isinstance(scan, Image):
        refuse_spacing(spacing, "a medseg.Image")
        return scan, lambda labels: labels
    module = type(scan).__module__.partition(".")[0]
    if module == "SimpleITK":
        refuse_spacing(spacing, "an image of SimpleITK")
        return Image.from_sitk(scan), lambda labels: labels.to_sitk(scan.GetDimension())
    if hasattr(scan, "dataobj") and hasattr(scan, "affine"):
        refuse_spacing(spacing, "an image of nibabel")
        return from_nibabel(scan, channels), lambda labels: to_nibabel(labels, scan)
    if isinstance(scan, np.ndarray):
        image = from_array(scan, channels, spacing)
        flat = scan.ndim == 2 + (channels > 1)
        return image, lambda labels: labels.array[0, 0] if flat else labels.array[0]
    raise DataError(f"A scan was given as {type(scan).__module__}.{type(scan).__name__}; expected {_KINDS}.")


def from_array(array: NDArray, channels: int = 1, spacing: Sequence[float] | None = None) -> Image:
    """Return an array as an `Image`.

    Args:
        array: as in `scan_in_memory`.
        channels: as in `scan_in_memory`.
        spacing: likewise.

    Raises:
        DataError: the array has another number of axes or channels, holds no whole or real numbers, or the spacing has
            another length.

    >>> from_array(np.zeros((4, 5, 6), np.int16), spacing=(3, 0.5, 0.5)).spacing_mm
    (3.0, 0.5, 0.5)
    """
    array = np.asarray(array)
    axes = array.ndim if channels == 1 and array.ndim < 4 else array.ndim - 1
    if axes not in (2, 3) or array.dtype.kind not in "iufb" or 0 in array.shape:
        raise DataError(
            f"The array has the shape {array.shape} and the type {array.dtype}; expected numbers as (z, y, x), or "
            f"(channel, z, y, x) with {channels} channels (for 2D images without z).",
        )
    voxels = array if axes < array.ndim else array[np.newaxis]
    if len(voxels) != channels:
        last = channels > 1 and array.shape[-1] in (channels, channels + 1)  # as Pillow has colours, alpha included
        raise DataError(
            f"The array of shape {array.shape} has {len(voxels)} channels; expected {channels}.",
            f"Channels come first: numpy.moveaxis(array, -1, 0)[:{channels}]" if last else None,
        )
    sizes = (1.0,) * axes if spacing is None else _sizes(spacing, axes)
    voxels = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
    voxels = voxels if axes == 3 else voxels[:, np.newaxis]
    steps = np.diag(sizes[::-1])
    affine = LPS_TO_RAS @ affine_from(steps, np.zeros(axes))
    notes = (_UNKNOWN_SIDES,) if axes == 3 and spacing is not None else ()
    return narrow_floats(Image(np.ascontiguousarray(voxels), affine, spacing is not None, warnings=notes))


def _sizes(spacing: Any, axes: int) -> tuple[float, ...]:
    """Return a spacing as numbers.

    Raises:
        DataError: it is not one number above 0 for each axis.
    """
    try:
        sizes = tuple(float(size) for size in spacing)
    except (TypeError, ValueError):  # one number, or none at all
        sizes = ()
    if len(sizes) != axes or not all(0 < size < np.inf for size in sizes):
        raise DataError(
            f"spacing is {spacing}; expected {axes} numbers above 0, in mm, for the axes "
            f"{'z, y and x' if axes == 3 else 'y and x'}.",
        )
    return sizes


def from_nibabel(image: Any, channels: int = 1) -> Image:
    """Return an image of nibabel as an `Image`, its values scaled as its header says.

    Args:
        image: two or three axes in space, and perhaps one of channels.
        channels: how many are expected.

    Raises:
        DataError: it has another number of axes or channels, colours as its type, or no usable affine.
    """
    array = np.asanyarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 5 and array.shape[3] == 1:  # NIfTI's vectors: channels stand behind the axis of time
        array = array[:, :, :, 0]
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "iuf" or 0 in array.shape:
        raise DataError(
            f"The nibabel image has the shape {array.shape} and the type {array.dtype}; expected numbers as (x, y, z), "
            "or (x, y, z, channel).",
            "Take one point in time: nibabel.funcs.four_to_three.",
        )
    array = array.reshape(*array.shape, *[1] * (4 - array.ndim))
    if array.shape[3] != channels:
        raise DataError(f"The nibabel image has {array.shape[3]} channels (or points in time); expected {channels}.")
    units = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "mm"
    if image.affine is None:
        raise DataError("The nibabel image has no affine; expected one that says where its voxels lie, in mm.")
    affine = usable_affine(np.array(image.affine, np.float64), "The nibabel image", "Its affine")
    affine[:3] *= mm_in(units) or 1.0
    voxels = np.ascontiguousarray(array.transpose(3, 2, 1, 0))
    return narrow_floats(Image(voxels.astype(voxels.dtype.newbyteorder("=")), affine))


def to_nibabel(labels: Image, scan: Any) -> Any:
    """Return labels as an image of nibabel on the grid of a scan: NIfTI, with the header of the scan if that is NIfTI.

    Args:
        labels: (1, z, y, x) whole numbers.
        scan: the image of nibabel that they belong to.
    """
    import nibabel as nib

    array = labels.array[0].transpose()
    array = array.reshape(scan.shape[:3]).astype(smallest_integer(array))
    kind: Any = type(scan) if isinstance(scan, nib.Nifti1Image) else nib.Nifti1Image
    header = scan.header.copy() if isinstance(scan, nib.Nifti1Image) else None
    if header is not None:  # scaling and names are those of the scan's values
        header.set_slope_inter(1, 0)
        header.extensions.clear()
    return kind(array, scan.affine, header, dtype=array.dtype)


def refuse_spacing(spacing: Sequence[float] | None, kind: str) -> None:
    """Refuse a spacing beside a scan that has one of its own.

    Args:
        spacing: what was given; None for nothing.
        kind: what the scan is, for the message.

    Raises:
        DataError: one was given.
    """
    if spacing is not None:
        raise DataError(f"spacing was given for {kind}, which has its own; expected it for arrays only.")
