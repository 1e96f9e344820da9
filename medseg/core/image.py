"""`Image`, an array that carries its geometry, and how it relates to other grids.

Arrays are (channel, z, y, x); a 2D image is one slice deep. The affine maps (x, y, z) voxel indices to RAS+
millimetres, as in NIfTI. Only `medseg.io` converts from and to other conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import LPS_TO_RAS, affine_difference, affine_from

if TYPE_CHECKING:
    import SimpleITK as sitk

Number = TypeVar("Number", int, float)

GRID_TOLERANCE_VOXELS = 0.05
"""How far the corners of two grids may be apart for them to count as the same: programs round what headers say."""


@dataclass(frozen=True, repr=False)
class Image:
    """A 2D or 3D scan, or a label map, with its geometry.

    Attributes:
        array: (channel, z, y, x).
        affine: 4x4, (x, y, z) voxel indices to RAS+ mm; to pixels if `spacing_known` is False.
        spacing_known: False for formats that do not store the size of a pixel, such as PNG.
        notes: oddities in the headers of its files that did not keep them from being read; sentences with file names.
        record: changes to values or grid made while reading (resampling, rescaling), as JSON-ready values.
        nnunet_spacing: spacing along z, y and x that nnU-Net's reader of the file's format returns where that differs
            from `spacing_mm`: for TIFF that of CASE.json beside it, else 1; for NIfTI the header's numbers whatever
            their unit. None: no difference.
        warnings: changes to values that a user has to know of; sentences with file names.
        picture_orientation: tag 274 of EXIF and TIFF, by which a picture was turned when it was read; 1: not.
    """

    array: NDArray
    affine: NDArray[np.float64]
    spacing_known: bool = True
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    nnunet_spacing: tuple[float, float, float] | None = None
    warnings: tuple[str, ...] = ()
    picture_orientation: int = 1

    @classmethod
    def from_sitk(cls, image: sitk.Image) -> Image:
        """Return a SimpleITK image as an `Image`, with a copy of its values.

        Args:
            image: 2D or 3D, of whole or real numbers; the components of vector pixels (colours) become channels. Its
                geometry, sheared directions included, is turned from ITK's LPS into RAS+. A 2D image becomes one slice,
                1 mm thick. SimpleITK always has a spacing, so it counts as known.

        Returns:
            (channel, z, y, x) in the type of the pixels.

        Raises:
            DataError: the image is empty, has more than three dimensions, or holds complex numbers or a run-length
                coded label map.

        >>> import SimpleITK as sitk
        >>> image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
        >>> image.SetSpacing((0.5, 0.75, 3))
        >>> Image.from_sitk(image).spacing_mm
        (3.0, 0.75, 0.5)
        """
        import SimpleITK as sitk

        dimensions, pixels = image.GetDimension(), image.GetPixelIDTypeAsString()
        if dimensions not in (2, 3) or 0 in image.GetSize():
            raise DataError(
                f"The SimpleITK image has the size {image.GetSize()}; expected two or three dimensions, none 0.",
                "Take one point in time of a 4D image: image[:, :, :, 0].",
            )
        if "complex" in pixels or "label of" in pixels:
            raise DataError(
                f"The SimpleITK image has pixels of the type {pixels!r}; expected whole or real numbers.",
                "Take the magnitude (sitk.ComplexToModulus), or decode the label map (sitk.LabelMapToLabel).",
            )
        array = sitk.GetArrayFromImage(image)  # (z,) y, x and, of vector pixels, component
        vector = "vector" in pixels
        array = np.moveaxis(array, -1, 0) if vector else array[np.newaxis]
        if dimensions == 2:
            array = array[:, np.newaxis]
        # column i of ITK's direction matrix is the unit step along axis i
        steps = np.array(image.GetDirection()).reshape(dimensions, dimensions) * image.GetSpacing()
        return cls(np.ascontiguousarray(array), LPS_TO_RAS @ affine_from(steps.T, image.GetOrigin()))

    def to_sitk(self, dimensions: int = 3) -> sitk.Image:
        """Return a SimpleITK image with a copy of the values; `Image.from_sitk` gives this image back.

        Args:
            dimensions: 3, or 2 for a 2D image of an image of one slice, which then lies in ITK's x-y plane.

        Returns:
            Several channels become vector pixels, booleans 8-bit numbers. The geometry is turned from RAS+ into ITK's
            LPS; where the spacing is unknown, it is ITK's own default (1 along each axis).

        Raises:
            ValueError: `dimensions` is 2 and there are several slices, or the slice is not parallel to the x-y plane.
        """
        import SimpleITK as sitk

        if dimensions not in (2, 3) or (dimensions == 2 and self.shape_zyx[0] != 1):
            raise ValueError(f"an image of shape (z, y, x) {self.shape_zyx} does not have {dimensions} dimensions")
        array = self.array.astype(np.uint8) if self.array.dtype == bool else self.array
        array = array if dimensions == 3 else array[:, 0]
        vector = array.shape[0] > 1
        image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if vector else array[0], isVector=vector)
        if not self.spacing_known:
            return image
        affine = LPS_TO_RAS @ self.affine
        steps = affine[:dimensions, :dimensions]
        if dimensions == 2 and affine[2, :2].any():
            raise ValueError("the slice is not parallel to the x-y plane, so that a 2D image cannot say where it lies")
        spacing = np.linalg.norm(steps, axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((steps / spacing).ravel().tolist())
        image.SetOrigin(affine[:dimensions, 3].tolist())
        return image

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        z, y, x = self.array.shape[1:]
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along z, y and x, in mm; in pixels if the spacing is unknown.

        Along an oblique axis it is rounded to float32, the precision in which files store the three components of the
        step: 1 mm is then 1 and not 0.9999999996, which could change a rounded shape by one voxel.
        """
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        oblique = np.count_nonzero(self.affine[:3, :3], axis=0) > 1
        x, y, z = np.where(oblique, lengths.astype(np.float32), lengths).tolist()
        return z, y, x

    @property
    def axes(self) -> str:
        """Where the stored axes x, y and z run to, such as RAS (right, anterior, superior)."""
        from nibabel.orientations import aff2axcodes

        return "".join(code or "?" for code in aff2axcodes(self.affine))

    def __repr__(self) -> str:
        """Return one line: channels, shape, spacing, axes, type and range of the values."""
        times = " x ".join(map(str, self.shape_zyx))
        spacing = " x ".join(f"{step:.4g}" for step in self.spacing_mm)
        lies = f"{spacing} mm, axes {self.axes}" if self.spacing_known else "spacing unknown"
        finite = self.array[np.isfinite(self.array)] if self.array.dtype.kind == "f" else self.array
        span = f"{finite.min():.6g} to {finite.max():.6g}" if finite.size else "no finite value"
        return f"<Image: {len(self.array)} x ({times}) {self.array.dtype}, {lies}, {span}>"

    @property
    def voxel_volume_ml(self) -> float | None:
        """Volume of a voxel in millilitres; None if the spacing is unknown."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000 if self.spacing_known else None

    def with_array(self, array: NDArray) -> Image:
        """Return an image with the same geometry and another array.

        Args:
            array: (channel, z, y, x), with the (z, y, x) shape of this image; the number of channels may differ.

        Raises:
            ValueError: the array has another (z, y, x) shape.
        """
        if array.shape[1:] != self.array.shape[1:]:
            raise ValueError(f"an array of shape {array.shape[1:]} does not fit a grid of {self.shape_zyx}")
        return replace(self, array=array)

    def grid_difference_voxels(self, other: Image) -> float:
        """Return the largest distance between corresponding corners of two grids, in units of the smallest spacing.

        Args:
            other: the image to compare with.

        Returns:
            Infinity for different (z, y, x) shapes; 0 for equal shapes if the spacing of either image is unknown.
        """
        if self.shape_zyx != other.shape_zyx:
            return float("inf")
        if not (self.spacing_known and other.spacing_known) or np.array_equal(self.affine, other.affine):
            return 0.0
        corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in self.shape_zyx[::-1]))])
        distance = np.linalg.norm(corners @ (self.affine - other.affine).T, axis=1).max()
        return float(distance / min(self.spacing_mm))

    def same_grid(self, other: Image, tolerance_voxels: float = GRID_TOLERANCE_VOXELS) -> bool:
        """Return whether two images lie on the same grid.

        Args:
            other: the image to compare with.
            tolerance_voxels: how far the corners may be apart, in units of the smallest spacing.
        """
        return self.grid_difference_voxels(other) <= tolerance_voxels


def describe_grid_difference(first: Image, second: Image) -> str:
    """Say in words how the grids of two images differ, for messages.

    Args:
        first: an image.
        second: the image to compare with it.

    Returns:
        A phrase with the shapes, or the distance of the corners; and how the affines differ, see `affine_difference`.
    """
    known = first.spacing_known and second.spacing_known
    difference = affine_difference(first.affine, second.affine) if known else ""
    if first.shape_zyx != second.shape_zyx:
        size = f"shapes (z, y, x) {first.shape_zyx} and {second.shape_zyx}"
    else:
        size = f"{first.grid_difference_voxels(second):.3g} voxels apart at a corner"
    return f"{size}, {difference}" if difference else size


def check_finite(image: Image, source: str) -> None:
    """Refuse images with NaN, infinity, or values beyond float32, the type that networks compute in.

    Args:
        image: the image to check.
        source: name of the image in the message, such as its path.

    Raises:
        DataError: there are such values; the message says how many, and where the first one is.
    """
    array = image.array
    if array.dtype.kind != "f":
        return
    largest = np.finfo(np.float32).max
    if -largest <= array.min(initial=0) and array.max(initial=0) <= largest:  # untrue if any value is NaN
        return
    usable = np.abs(array) <= largest
    indices = np.argwhere(~usable)
    values = array[~usable]
    kinds = {"NaN": np.isnan(values), "infinity": np.isinf(values), "values beyond 3.4e38": np.isfinite(values)}
    what = " and ".join(kind for kind, is_kind in kinds.items() if is_kind.any())
    raise DataError(
        f"{source} holds {what} in {len(indices)} of {array.size} voxels, the first at "
        f"(channel, z, y, x) = {tuple(indices[0].tolist())}.",
        "Replace them by the value that stands for 'nothing' in this scan (0 in MR, -1024 in CT); only NaN in whole "
        "regions at the edge of the grid is read so.",
        "not finite",
    )


def nonzero_box(array: NDArray) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds every voxel where any channel is not zero.

    nnU-Net v2 (`cropping.py`, `crop_to_nonzero`) fills holes first, which never changes the box.

    Args:
        array: (channel, z, y, x).

    Returns:
        Slices along z, y and x; the whole grid if all values are zero.
    """
    # read memory in its own order, however the array was transposed
    axes = sorted(range(3), key=lambda axis: -abs(array.strides[axis + 1]))
    box = _box_in_memory_order(array.transpose(0, *(axis + 1 for axis in axes)))
    z, y, x = (box[axes.index(axis)] for axis in range(3))
    return z, y, x


def whole_box(array: NDArray) -> tuple[slice, slice, slice]:
    """Return the box of all voxels: what `nonzero_box` is where every voxel has to be answered.

    Args:
        array: (channel, z, y, x).
    """
    z, y, x = (slice(0, size) for size in array.shape[1:])
    return z, y, x


def _box_in_memory_order(array: NDArray) -> list[slice]:
    """Return the box of `nonzero_box`, reading slice after slice only until the box cannot grow any more."""
    slices, *shape = array.shape[1:]
    first = next((index for index in range(slices) if array[:, index].any()), None)
    if first is None:
        return [slice(0, size) for size in (slices, *shape)]
    last = next(index for index in reversed(range(slices)) if array[:, index].any())
    occupied = [np.zeros(size, dtype=bool) for size in shape]  # for each row and each column: any voxel not zero
    for index in range(first, last + 1):
        plane = (array[:, index] != 0).any(axis=0)
        for axis, line in enumerate(occupied):
            line |= plane.any(axis=1 - axis)
        if all(line[0] and line[-1] for line in occupied):
            break
    return [slice(first, last + 1), *(_extent(line) for line in occupied)]


def _extent(occupied: NDArray[np.bool_]) -> slice:
    """Return the slice from the first to the last True."""
    indices = np.flatnonzero(occupied)
    return slice(int(indices[0]), int(indices[-1]) + 1)


@dataclass(frozen=True)
class Orientation:
    """How a stored array relates to the canonical frame, in which x runs to the right, y to the front and z up (RAS+).

    Axes are permuted and reversed only, never resampled, so an oblique scan stays oblique.

    Attributes:
        axes: for each canonical axis (z, y, x), the stored axis that becomes it.
        flips: for each canonical axis, whether it is reversed.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def of(cls, image: Image) -> Orientation:
        """Return the orientation that brings `image` closest to the canonical frame."""
        return _orientation_along(np.asarray(image.affine, np.float64)[:3, :3].tobytes())

    def apply(self, array: NDArray) -> NDArray:
        """Return a view of a stored (channel, z, y, x) array in the canonical frame."""
        permuted = array.transpose(0, *(axis + 1 for axis in self.axes))
        return permuted[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in self.flips))]

    def invert(self, array: NDArray) -> NDArray:
        """Return a view of a (channel, z, y, x) array of the canonical frame as it is stored."""
        flipped = array[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in self.flips))]
        inverse = np.argsort(self.axes)  # argsort of a permutation is its inverse
        return flipped.transpose(0, *(int(axis) + 1 for axis in inverse))

    def permute(self, values_zyx: tuple[Number, Number, Number]) -> tuple[Number, Number, Number]:
        """Return a spacing or a shape, given in stored (z, y, x) order, in canonical order."""
        z, y, x = (values_zyx[axis] for axis in self.axes)
        return z, y, x


@lru_cache(maxsize=1024)
def _orientation_along(edges: bytes) -> Orientation:
    """Return the orientation of a grid by its steps (3x3 float64); cached, as the scans of a data set share theirs."""
    from nibabel.orientations import io_orientation

    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(edges).reshape(3, 3)
    # one row for each stored axis, in the order x, y, z: the canonical axis that it is closest to, and its direction
    orientation = io_orientation(affine)
    stored_of = {int(canonical): stored for stored, (canonical, _) in enumerate(orientation)}
    axes_xyz = [stored_of[canonical] for canonical in (2, 1, 0)]
    flips = tuple(bool(orientation[stored][1] < 0) for stored in axes_xyz)
    z, y, x = (2 - stored for stored in axes_xyz)  # number axes from z on, as arrays do
    return Orientation((z, y, x), (flips[0], flips[1], flips[2]))
