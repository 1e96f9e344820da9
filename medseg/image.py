"""Image: an array that carries its geometry.

Arrays are (channel, z, y, x); a 2D image is one slice deep. The affine maps (x, y, z) voxel indices to
RAS+ millimetres, as in NIfTI. Only `medseg.io` converts from and to other conventions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", int, float)

GRID_TOLERANCE_VOXELS = 0.05


@dataclass(frozen=True)
class Image:
    """A 2D or 3D scan, or a label map, with its geometry.

    Attributes:
        array: (channel, z, y, x).
        affine: 4x4, (x, y, z) voxel indices to RAS+ mm; to pixels where `spacing_known` is False.
        spacing_known: False for formats that store no size of a pixel, such as PNG.
    """

    array: NDArray
    affine: NDArray[np.float64]
    spacing_known: bool = True

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        z, y, x = self.array.shape[1:]
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along z, y and x: mm, or pixels where the spacing is unknown."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
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
        """Largest distance between corresponding corners, in units of the smallest spacing; inf for other shapes."""
        if self.shape_zyx != other.shape_zyx:
            return float("inf")
        corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in self.shape_zyx[::-1]))])
        distance = np.linalg.norm(corners @ (self.affine - other.affine).T, axis=1).max()
        return float(distance / min(self.spacing_mm))

    def same_grid(self, other: Image, tolerance_voxels: float = GRID_TOLERANCE_VOXELS) -> bool:
        """Whether both lie on one grid within the tolerance."""
        return self.grid_difference_voxels(other) <= tolerance_voxels


def describe_grid_difference(one: Image, other: Image) -> str:
    """How the grids of two images differ, in words for messages: in shape, else in where they lie."""
    if one.shape_zyx != other.shape_zyx:
        return f"shapes (z, y, x) {one.shape_zyx} and {other.shape_zyx}"
    affines = (str([[float(f"{value:.7g}") for value in row] for row in image.affine[:3]]) for image in (one, other))
    return f"{one.grid_difference_voxels(other):.3g} voxels apart at a corner, affines {' and '.join(affines)}"


def nonzero_box(array: NDArray) -> tuple[slice, slice, slice]:
    """Box (z, y, x) around what is not zero in every channel (channel, z, y, x); the whole grid of an array of zeros.

    Filling holes beforehand, as nnU-Net does, never changes the box.
    """
    content = (array != 0).any(axis=0)
    plane = content.any(axis=0)
    z, y, x = (_extent(line) for line in (content.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0)))
    return z, y, x


def _extent(line: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(line)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, len(line))


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
        from nibabel.orientations import io_orientation

        # ornt[stored axis xyz] = (canonical axis xyz, direction)
        ornt = io_orientation(image.affine)
        stored_of = {int(target): stored for stored, (target, _) in enumerate(ornt)}
        axes_xyz = [stored_of[target] for target in (2, 1, 0)]
        flips = tuple(bool(ornt[stored][1] < 0) for stored in axes_xyz)
        z, y, x = (2 - stored for stored in axes_xyz)
        return cls((z, y, x), (flips[0], flips[1], flips[2]))

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
