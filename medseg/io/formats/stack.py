"""Stack: what a file holds, before it is said which of its volumes are meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image, describe_grid_difference

_FLATTEST = 1e-6  # volume of a voxel as a share of what its edges would span at right angles
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
    """Millimetres in a unit of length, by one of the names that formats give it; None if it is none."""
    return _MM_BY_UNIT.get(unit.strip().lower())


@dataclass(frozen=True)
class Stack:
    """The content of a file.

    Attributes:
        array: (volume, component, z, y, x); a component is a colour, or a part of a vector.
        affine: 4x4, (x, y, z) indices to RAS+ mm.
        spacing_known: whether the format says how large a voxel is.
        in_time: whether the file says that its volumes are points in time.
        pages: whether the slices are pages of which the file does not say what they are: slices, or channels.
        notes: what is odd about the header though it can be read, in sentences that name the file.
        record: as an image's.
    """

    array: NDArray
    affine: NDArray[np.float64]
    spacing_known: bool = True
    in_time: bool = False
    pages: bool = False
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    def image(self, path: Path, frame: int | None = None) -> Image:
        """All volumes as channels, or only volume `frame` of several.

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
        return Image(chosen, self.affine, self.spacing_known, self.notes, self.record)

    def pages_as_channels(self) -> Image | None:
        """The pages as channels of one slice; None where the file says what they are, or there is only one."""
        volumes, components, pages = self.array.shape[:3]
        if not self.pages or volumes * components != 1 or pages == 1:
            return None
        return Image(self.array[0].transpose(1, 0, 2, 3), self.affine, self.spacing_known)


def opaque(array: NDArray, path: Path) -> NDArray:
    """Colours (..., component, z, y, x) without a last component of transparency that is the same everywhere.

    Raises:
        DataError: the transparency varies.
    """
    colours, alpha = array[..., :-1, :, :, :], array[..., -1, :, :, :]
    if alpha.min() != alpha.max():
        raise DataError(
            f"{path} has a transparency that varies ({alpha.min()} to {alpha.max()}): which colour is meant is open.",
            "Draw it on an opaque background and save it without alpha.",
        )
    return colours


def usable_affine(affine: NDArray[np.float64], path: Path, source: str) -> NDArray[np.float64]:
    """The affine, if its voxels have a volume.

    Raises:
        DataError: it has no inverse; `source` says where it comes from.
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
    """Refuse an answer that does not lie on the grid of its scan, whose sizes may be two.

    Raises:
        DataError: with how the grids differ.
    """
    shape = (*reversed(sizes_xyz),) if len(sizes_xyz) == 3 else (1, *reversed(sizes_xyz))
    grid = Image(np.broadcast_to(np.uint8(0), (1, *shape)), affine, image.spacing_known)
    if not image.same_grid(grid):
        raise DataError(f"The answer lies on another grid than {like}: {describe_grid_difference(image, grid)}.")


def native(array: NDArray) -> NDArray:
    """The array, or where need be a copy, writable, in C order and the machine's byte order."""
    return np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
