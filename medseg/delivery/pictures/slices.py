"""Slices of an answer over its scan: which ones show its structures at their largest, and each as pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medseg.core.colours import rgb_number
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.pictures.drawing import is_colour, structures_in
from medseg.delivery.pictures.planes import Plane, planes_through


@dataclass(frozen=True)
class LargestIn:
    """A slice, and the structures that are largest in it.

    Attributes:
        plane: The slice.
        count: How many slices there are along its axis.
        names: The structures; of a slice that was chosen to show many, those that are nearly at their largest.
    """

    plane: Plane
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """How a slice is drawn.

    Attributes:
        area: Opacity of the areas of structures; 0 draws outlines alone.
        line: Width of outlines, in pixels.
        height: Least height in pixels; smaller slices are enlarged by whole factors.
        widest: Greatest width or height in pixels; larger slices are drawn smaller.
    """

    area: float
    line: int
    height: int
    widest: int


def largest_slices(answer: Image, labels: Labels, most: int) -> list[LargestIn]:
    """Return where structures are largest: the plane of a 2D image; of a volume axial slices, in their order.

    A slice that shows several structures at their largest is returned once. Where there are more slices than `most`,
    those are chosen that show most structures, as far as each is not seen larger in another of them.

    Args:
        answer: (1, z, y, x) label values.
        labels: The structures.
        most: How many slices are returned at most.
    """
    values = answer.array[0]
    first = planes_through(answer, values != labels.background)[0]
    oriented = first.orientation.apply(values[np.newaxis])[0]
    count = oriented.shape[first.axis]
    if count == 1:
        return [LargestIn(first, 1, ())]
    areas = _areas(np.moveaxis(oriented, first.axis, 0), labels)
    present = np.flatnonzero(areas.any(axis=0))
    if not present.size:
        return [LargestIn(first, count, ())]
    shares = areas[:, present] / areas[:, present].max(axis=0)
    candidates = np.unique(shares.argmax(axis=0))
    chosen = candidates if len(candidates) <= most else _best(shares, candidates, most)
    largest = shares[chosen].argmax(axis=0)  # of each structure, which of the chosen slices
    return [
        LargestIn(
            replace(first, index=int(index)), count, tuple(labels.names[n] for n in present[largest == number].tolist())
        )
        for number, index in enumerate(chosen)
    ]


def draw_slice(
    plane: Plane, scan: Image, answer: Image, labels: Labels, levels: tuple[float, float], style: Style
) -> NDArray[np.uint8]:
    """Return a slice with its structures as RGB (row, column, 3), in the proportions of its pixels.

    Args:
        plane: The slice.
        scan: (channel, z, y, x); three channels of 8 bits are drawn in colour, of others the first in grey.
        answer: (1, z, y, x) label values, on the grid of the scan.
        labels: The structures; each has the colour that it has everywhere (`medseg.core.colours`).
        levels: Intensities that are black and white, in grey.
        style: How it is drawn.

    Raises:
        DataError: The slice holds a value that no structure declares.
    """
    from PIL import Image as pillow

    slice_ = plane.cut(scan.array if is_colour(scan) else scan.array[:1]).astype(np.float32)
    low, high = (0.0, 255.0) if is_colour(scan) else levels
    shown = (np.clip((slice_ - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    rows, columns = shown.shape[1:]
    pixels = np.moveaxis(np.broadcast_to(shown, (3, rows, columns)), 0, -1)
    size = _size(rows * plane.pixel[0], columns * plane.pixel[1], rows, style)
    panel = np.array(pillow.fromarray(pixels).resize(size, pillow.Resampling.BILINEAR), np.float32)
    nearest = np.ix_(np.arange(size[1]) * rows // size[1], np.arange(size[0]) * columns // size[0])
    for name, mask in structures_in(labels, plane.cut(answer.array)[0]).items():
        colour = np.array(rgb_number(labels.names.index(name)), np.float32)
        enlarged = mask[nearest]
        panel[enlarged] = (1 - style.area) * panel[enlarged] + style.area * colour
        panel[_outline(enlarged, style.line)] = colour
    return panel.astype(np.uint8)


def _areas(slices: NDArray, labels: Labels) -> NDArray[np.int64]:
    """Return (slice, structure): the voxels of each structure in each slice, counted in one pass over the values."""
    members = np.pad(labels.membership, ((0, 0), (1, 0))).astype(np.int64)  # the first column: voxels to ignore
    counts = [
        np.bincount(labels.encode(values, "the label map").ravel() + 1, minlength=members.shape[1]) for values in slices
    ]
    return np.array(counts) @ members.T


def _best(shares: NDArray[np.floating], candidates: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return slices in order, chosen one by one so that each adds most to the area of structures that is seen."""
    seen = np.zeros(shares.shape[1])
    chosen: list[int] = []
    for _ in range(most):
        gains = np.maximum(shares[candidates] - seen, 0).sum(axis=1)
        chosen.append(int(candidates[gains.argmax()]))
        seen = np.maximum(seen, shares[chosen[-1]])
    return np.unique(chosen)


def _size(height: float, width: float, rows: int, style: Style) -> tuple[int, int]:
    """Return width and height of a slice in pixels.

    Args:
        height: Of the slice, in the unit of its pixels.
        width: Likewise.
        rows: Of voxels; where pixels are square, each becomes a whole number of pixels of the picture.
        style: How large it may be.
    """
    wanted = rows * -(-style.height // rows) if rows < style.height else rows
    scale = min(wanted / height, style.widest / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Return the pixels of a mask within `width` pixels of its outside; the edge of the picture is none."""
    inner = np.pad(mask, width, mode="edge")
    for _ in range(width):
        inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return mask & ~inner[width:-width, width:-width]
