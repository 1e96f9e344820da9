"""Image: an array that carries its geometry.

Arrays are (channel, z, y, x); a 2D image is one slice deep. The affine maps (x, y, z) voxel indices to
RAS+ millimetres, as in NIfTI. Only `medseg.io` converts from and to other conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.grids import affine_difference

Number = TypeVar("Number", int, float)

GRID_TOLERANCE_VOXELS = 0.05


@dataclass(frozen=True)
class Image:
    """A 2D or 3D scan, or a label map, with its geometry.

    Attributes:
        array: (channel, z, y, x).
        affine: 4x4, (x, y, z) voxel indices to RAS+ mm; to pixels where `spacing_known` is False.
        spacing_known: False for formats that store no size of a pixel, such as PNG.
        notes: what is odd about the headers of its files though they can be read, in sentences that name the file.
        record: what was done to values and grid while reading, where that is more than unpacking; as JSON holds it.
    """

    array: NDArray
    affine: NDArray[np.float64]
    spacing_known: bool = True
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        z, y, x = self.array.shape[1:]
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along z, y and x: mm, or pixels where the spacing is unknown.

        Along an oblique axis it is rounded to float32, in which files store its three parts: 1 mm is 1 then, and not
        0.9999999996, which would turn half a voxel into none where a shape is rounded.
        """
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        oblique = np.count_nonzero(self.affine[:3, :3], axis=0) > 1
        x, y, z = np.where(oblique, lengths.astype(np.float32), lengths).tolist()
        return z, y, x

    @property
    def voxel_volume_ml(self) -> float | None:
        """Volume of a voxel in millilitres; None where the spacing is unknown."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000 if self.spacing_known else None

    def with_array(self, array: NDArray) -> Image:
        """The same geometry with another array of the same (z, y, x) shape."""
        if array.shape[1:] != self.array.shape[1:]:
            raise ValueError(f"an array of shape {array.shape[1:]} does not fit a grid of {self.shape_zyx}")
        return replace(self, array=array)

    def grid_difference_voxels(self, other: Image) -> float:
        """Largest distance between corresponding corners, in units of the smallest spacing; inf for other shapes.

        An image whose spacing is unknown lies wherever another of its shape does.
        """
        if self.shape_zyx != other.shape_zyx:
            return float("inf")
        if not (self.spacing_known and other.spacing_known):
            return 0.0
        corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in self.shape_zyx[::-1]))])
        distance = np.linalg.norm(corners @ (self.affine - other.affine).T, axis=1).max()
        return float(distance / min(self.spacing_mm))

    def same_grid(self, other: Image, tolerance_voxels: float = GRID_TOLERANCE_VOXELS) -> bool:
        """Whether both lie on one grid within the tolerance."""
        return self.grid_difference_voxels(other) <= tolerance_voxels


def describe_grid_difference(one: Image, other: Image) -> str:
    """How the grids of two images differ, in words for messages: in shape, else in where they lie."""
    known = one.spacing_known and other.spacing_known
    difference = affine_difference(one.affine, other.affine) if known else ""
    if one.shape_zyx != other.shape_zyx:
        what = f"shapes (z, y, x) {one.shape_zyx} and {other.shape_zyx}"
    else:
        what = f"{one.grid_difference_voxels(other):.3g} voxels apart at a corner"
    return f"{what}, {difference}" if difference else what


def check_finite(image: Image, source: str) -> None:
    """Refuse NaN, infinity, and values beyond float32, which networks compute in.

    Raises:
        DataError: with how many there are, and where the first is; `source` names the image in the message.
    """
    array = image.array
    if array.dtype.kind != "f":
        return
    usable = np.isfinite(array)
    if array.dtype != np.float32:
        usable &= np.abs(array) <= np.finfo(np.float32).max
    if usable.all():
        return
    odd = np.argwhere(~usable)
    values = array[~usable]
    kinds = {"NaN": np.isnan(values), "infinity": np.isinf(values), "values beyond 3.4e38": np.isfinite(values)}
    what = " and ".join(kind for kind, found in kinds.items() if found.any())
    raise DataError(
        f"{source} holds {what} in {len(odd)} of {array.size} voxels, the first at "
        f"(channel, z, y, x) = {tuple(odd[0].tolist())}.",
        "Replace them by the value that stands for 'nothing' in this scan (0 in MR, -1024 in CT).",
        "not finite",
    )


def nonzero_box(array: NDArray) -> tuple[slice, slice, slice]:
    """Box (z, y, x) around what is not zero in every channel (channel, z, y, x); the whole grid of an array of zeros.

    Filling holes beforehand, as nnU-Net does, never changes the box.
    """
    # slices as they lie in memory, however the array is turned
    places = sorted(range(3), key=lambda place: -abs(array.strides[place + 1]))
    turned = array.transpose(0, *(place + 1 for place in places))
    found = _box_in_order(turned)
    z, y, x = (found[places.index(place)] for place in range(3))
    return z, y, x


def _box_in_order(array: NDArray) -> list[slice]:
    """`nonzero_box`, slice by slice and only until the box is known; a scan without zeros is known at once."""
    slices, *shape = array.shape[1:]
    first = next((number for number in range(slices) if array[:, number].any()), None)
    if first is None:
        return [slice(0, size) for size in (slices, *shape)]
    last = next(number for number in reversed(range(slices)) if array[:, number].any())
    filled = [np.zeros(size, dtype=bool) for size in shape]
    for number in range(first, last + 1):
        plane = (array[:, number] != 0).any(axis=0)
        for axis, line in enumerate(filled):
            line |= plane.any(axis=1 - axis)
        if all(line[0] and line[-1] for line in filled):
            break
    return [slice(first, last + 1), *(_extent(line) for line in filled)]


def _extent(line: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(line)
    return slice(int(places[0]), int(places[-1]) + 1)


@dataclass(frozen=True)
class Orientation:
    """How a stored array relates to the canonical frame, in which x runs to R, y to A and z to S.

    `axes[i]` is the stored (z, y, x) axis that becomes axis i, `flips[i]` whether it is reversed.
    Axes are permuted and reversed only, never resampled, so an oblique scan stays oblique.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def of(cls, image: Image) -> Orientation:
        """The permutation that brings `image` closest to the canonical frame."""
        return _orientation_along(np.asarray(image.affine, np.float64)[:3, :3].tobytes())

    def apply(self, array: NDArray) -> NDArray:
        """(channel, z, y, x) as stored, to the canonical frame."""
        turned = array.transpose(0, *(axis + 1 for axis in self.axes))
        return turned[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in self.flips))]

    def invert(self, array: NDArray) -> NDArray:
        """(channel, z, y, x) in the canonical frame, back to how it is stored."""
        turned = array[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in self.flips))]
        back = np.argsort(self.axes)
        return turned.transpose(0, *(int(axis) + 1 for axis in back))

    def permute(self, values_zyx: tuple[Number, Number, Number]) -> tuple[Number, Number, Number]:
        """Spacing or shape in stored order, to canonical order."""
        z, y, x = (values_zyx[axis] for axis in self.axes)
        return z, y, x


@lru_cache(maxsize=1024)
def _orientation_along(edges: bytes) -> Orientation:
    """The orientation of a grid with these 3x3 float64 steps; the scans of a set share theirs."""
    from nibabel.orientations import io_orientation

    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(edges).reshape(3, 3)
    # ornt[stored axis xyz] = (canonical axis xyz, direction)
    ornt = io_orientation(affine)
    stored_of = {int(target): stored for stored, (target, _) in enumerate(ornt)}
    axes_xyz = [stored_of[target] for target in (2, 1, 0)]
    flips = tuple(bool(ornt[stored][1] < 0) for stored in axes_xyz)
    z, y, x = (2 - stored for stored in axes_xyz)
    return Orientation((z, y, x), (flips[0], flips[1], flips[2]))
