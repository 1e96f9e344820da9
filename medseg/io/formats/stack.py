"""`Stack`, the result of every reader of a file format, and helpers that several readers and writers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image, describe_grid_difference

ORIENTATION_TAG = 274
"""The tag of EXIF and TIFF that says how a viewer turns a picture."""
_FLATTEST = 1e-6  # least volume of a voxel, as a share of what its edges would span at right angles
_UNITS_MM = {
    1e3: ("m", "meter", "metre"),
    10.0: ("cm", "centimeter", "centimetre"),
    1.0: ("mm", "millimeter", "millimetre"),
    1e-3: ("um", "µm", "μm", r"\u00b5m", "micron", "microns", "micrometer", "micrometre"),
    1e-6: ("nm", "nanometer", "nanometre"),
    25.4: ("inch", "inches"),
}
_MM_BY_UNIT = {name: size for size, names in _UNITS_MM.items() for name in names}


def mm_in(unit: str) -> float | None:
    """Return the millimetres in a unit of length, by a name that formats give it; None if it is not one."""
    return _MM_BY_UNIT.get(unit.strip().lower())


def number_in(text: object) -> float:
    """Return the number that a header's text says; 0 if it says none."""
    try:
        return float(str(text))
    except ValueError:
        return 0.0


@dataclass(frozen=True)
class Stack:
    """The content of a file, before a user or a plan chooses among its volumes.

    Attributes:
        array: (volume, component, z, y, x); a component is a colour, or a part of a vector.
        affine: 4x4, (x, y, z) indices to RAS+ mm.
        spacing_known: whether the file says how large a voxel is.
        in_time: whether the file says that its volumes are points in time.
        pages: whether the slices are pages of which the file does not say if they are slices or channels.
        notes: what is odd about the header although it can be read, in sentences that name the file.
        record: what was done to values and grid while reading, see `Image.record`.
        nnunet_spacing: see `Image.nnunet_spacing`.
        picture_orientation: see `Image.picture_orientation`.
    """

    array: NDArray
    affine: NDArray[np.float64]
    spacing_known: bool = True
    in_time: bool = False
    pages: bool = False
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    nnunet_spacing: tuple[float, float, float] | None = None
    picture_orientation: int = 1

    def image(self, path: Path, frame: int | None = None) -> Image:
        """Return all volumes as channels, or only one of several.

        Args:
            path: the file, for messages.
            frame: the number of the volume, from 0; None for all.

        Returns:
            The image, (channel, z, y, x).

        Raises:
            DataError: there is no such frame, or several volumes have several components each.
        """
        volumes, components, *shape = self.array.shape
        if volumes > 1 and frame is not None:
            if not 0 <= frame < volumes:
                raise DataError(
                    f"{path} has no frame {frame}: it holds {volumes} volumes, 0 to {volumes - 1}.",
                    f"Choose one of them with --frame, 0 to {volumes - 1}.",
                )
            chosen = self.array[frame]
        elif volumes > 1 and components > 1:
            raise DataError(
                f"{path} holds {volumes} volumes of {components} components (colours, or a vector) each.",
                f"Choose a volume with --frame, 0 to {volumes - 1}.",
            )
        else:
            chosen = self.array.reshape(-1, *shape)
        return Image(
            chosen,
            self.affine,
            self.spacing_known,
            self.notes,
            self.record,
            self.nnunet_spacing,
            picture_orientation=self.picture_orientation,
        )

    def pages_as_channels(self) -> Image | None:
        """Return the pages of a file as channels of one slice; None if they are known to be slices, or only one."""
        volumes, components, pages = self.array.shape[:3]
        if not self.pages or volumes * components != 1 or pages == 1:
            return None
        channels = self.array[0].transpose(1, 0, 2, 3)
        return Image(channels, self.affine, self.spacing_known, picture_orientation=self.picture_orientation)


def opaque(array: NDArray, path: Path) -> NDArray:
    """Return colours without their last component, a transparency that is the same everywhere.

    Args:
        array: (..., component, z, y, x).
        path: the file, for messages.

    Returns:
        (..., component - 1, z, y, x).

    Raises:
        DataError: the transparency varies.
    """
    colours, alpha = array[..., :-1, :, :, :], array[..., -1, :, :, :]
    if alpha.min() != alpha.max():
        raise DataError(
            f"{path} has a transparency that varies ({alpha.min()} to {alpha.max()}), so its colours are ambiguous.",
            "Draw it on an opaque background and save it without alpha.",
        )
    return colours


def as_shown(array: NDArray, orientation: int) -> NDArray:
    """Return a picture as viewers and annotation programs show it.

    Args:
        array: (..., y, x), rows and columns as they are stored.
        orientation: the tag 274 of EXIF and TIFF: 1 to 8; anything else is taken for 1.

    Returns:
        A view of the array: (..., y, x), or (..., x, y) for 5 to 8.

    >>> as_shown(np.array([[1, 2, 3], [4, 5, 6]]), 6).tolist()  # turned clockwise
    [[4, 1], [5, 2], [6, 3]]
    """
    array = array.swapaxes(-1, -2) if 5 <= orientation <= 8 else array
    if orientation in (3, 4, 7, 8):
        array = array[..., ::-1, :]
    return array[..., ::-1] if orientation in (2, 3, 6, 7) else array


def orientation_notes(path: Path, orientation: int) -> tuple[str, ...]:
    """Return a note on a picture that `as_shown` turns or mirrors.

    Args:
        path: the file.
        orientation: its tag 274.
    """
    if orientation == 1:
        return ()
    return (f"{path} has the orientation {orientation} (EXIF or TIFF tag 274) and is read turned as viewers show it",)


def usable_affine(affine: NDArray[np.float64], path: Path | str, source: str) -> NDArray[np.float64]:
    """Return an affine after a check that its voxels have a volume.

    Args:
        affine: 4x4, (x, y, z) indices to RAS+ mm.
        path: the file, or what else has the affine, for messages.
        source: the field that it comes from, for messages.

    Returns:
        The same affine.

    Raises:
        DataError: it has no inverse.
    """
    edges = affine[:3, :3]
    with np.errstate(all="ignore"):  # damaged headers hold numbers of any size
        volume, span = abs(np.linalg.det(edges)), np.linalg.norm(edges, axis=0).prod()
        usable = np.isfinite(affine).all() and np.isfinite(span) and volume > _FLATTEST * span
    if usable:
        return affine
    raise DataError(
        f"{path} has an affine without an inverse: {affine[:3].tolist()}; its voxels have no volume.",
        f"{source} is broken: set it, for example with nibabel, ITK-SNAP or 3D Slicer.",
    )


def check_reference(image: Image, sizes_xyz: Sequence[int], affine: NDArray[np.float64], like: Path) -> None:
    """Refuse an answer that does not lie on the grid of its scan.

    Args:
        image: the answer.
        sizes_xyz: the voxels of the scan along x, y (and z).
        affine: 4x4 of the scan, (x, y, z) indices to RAS+ mm.
        like: the scan's file, for messages.

    Raises:
        DataError: with how the grids differ.
    """
    shape = (*reversed(sizes_xyz),) if len(sizes_xyz) == 3 else (1, *reversed(sizes_xyz))
    grid = Image(np.broadcast_to(np.uint8(0), (1, *shape)), affine, image.spacing_known)
    if not image.same_grid(grid):
        raise DataError(f"The answer lies on another grid than {like}: {describe_grid_difference(image, grid)}.")


def native(array: NDArray) -> NDArray:
    """Return the array, copied only if it is not writable, in C order and in the machine's byte order."""
    return np.require(array, array.dtype.newbyteorder("="), ["C", "W"])


def smallest_integer(array: NDArray) -> np.dtype:
    """Return the smallest integer type that holds every value of an array.

    >>> smallest_integer(np.array([-1, 200]))
    dtype('int16')
    """
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    # of signed types, the one that holds -high - 1 holds high
    return np.min_scalar_type(high if low >= 0 else min(low, -high - 1))
