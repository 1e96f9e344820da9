"""Planes through a scan as a radiologist expects them: which slices, which way up, how large a pixel is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import Image, Orientation

_NAMES = ("axial", "coronal", "sagittal")
"""Of a slice across each canonical axis (z, y, x)."""
_EDGES = (("R", "A"), ("R", "S"), ("A", "S"))
"""The side of the patient on the left and on top of each of these, in radiological convention."""
_OPPOSITE = {"R": "L", "A": "P", "S": "F"}
"""The side across from each, by its letter in DICOM, where inferior is F, towards the feet (PS3.3 C.7.6.1.1.1)."""
_STORED = Orientation()


@dataclass(frozen=True)
class Plane:
    """One slice of a grid, ready to be drawn with its first row on top.

    Attributes:
        name: axial, coronal or sagittal; empty where the affine does not say how the patient lies.
        axis: Axis of the (z, y, x) array that is cut, after `orientation` was applied.
        index: The slice along that axis.
        pixel: Height and width of a pixel, in mm, or in pixels where the spacing is not known.
        left: The patient's side on the left (R, A or S); empty where the affine does not say.
        top: The patient's side on top, likewise.
        orientation: Brings a stored array to the frame of `axis` and `index`.
    """

    name: str
    axis: int
    index: int
    pixel: tuple[float, float]
    left: str
    top: str
    orientation: Orientation

    @property
    def directions(self) -> tuple[str, str] | None:
        """The sides of the patient that rows run to, from left to right, and columns, downwards; None if not known.

        Letters are those of DICOM's Patient Orientation: L and P for an axial plane.
        """
        return (_OPPOSITE[self.left], _OPPOSITE[self.top]) if self.name else None

    def cut(self, array: NDArray) -> NDArray:
        """Return the slice of an array.

        Args:
            array: (channel, z, y, x), as stored.

        Returns:
            (channel, row, column), as drawn, the first row on top.
        """
        slice_ = self.orientation.apply(array).take(self.index, axis=self.axis + 1)
        # The canonical axes run to R, A and S; on screen R (or A) is left and A (or S) on top.
        return slice_[:, ::-1, ::-1] if self.name else slice_


def planes_through(grid: Image, foreground: NDArray[np.bool_]) -> list[Plane]:
    """Return the axial, coronal and sagittal plane through the centre of `foreground`; of a 2D image its only plane.

    Views are radiological: the patient's right is on the left, anterior or superior on top, and anterior on the
    left of a sagittal view. Where the spacing is unknown nothing is known about sides, and slices stay as stored.

    Args:
        grid: Image that gives the geometry.
        foreground: (z, y, x), as stored. Where the slice through its centre misses it, the slice with most of it is
            taken; where it is empty, the middle slice.
    """
    orientation = Orientation.of(grid) if grid.spacing_known else _STORED
    oriented = orientation.apply(foreground[np.newaxis])[0]
    spacing = orientation.permute(grid.spacing_mm)
    flat = [axis for axis in range(3) if oriented.shape[axis] == 1]
    planes = []
    for axis in flat[:1] or range(3):
        rows, columns = (image_axis for image_axis in range(3) if image_axis != axis)
        known = grid.spacing_known
        planes.append(
            Plane(
                name=_NAMES[axis] if known else "",
                axis=axis,
                index=_central_slice(oriented, axis),
                pixel=(spacing[rows], spacing[columns]),
                left=_EDGES[axis][0] if known else "",
                top=_EDGES[axis][1] if known else "",
                orientation=orientation,
            )
        )
    return planes


def _central_slice(foreground: NDArray[np.bool_], axis: int) -> int:
    """Return the slice through the centre of mass, the one with most foreground if that misses it, else the middle."""
    others = tuple(image_axis for image_axis in range(3) if image_axis != axis)
    counts = np.count_nonzero(foreground, axis=others)
    if not counts.any():
        return len(counts) // 2
    centre = round(float(np.average(np.arange(len(counts)), weights=counts)))
    return centre if counts[centre] else int(counts.argmax())
