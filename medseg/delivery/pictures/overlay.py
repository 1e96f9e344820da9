"""A picture of an answer over its scan: structures as coloured areas with outlines, for a look at a folder of answers.

A 2D image is drawn whole, pixel by pixel. Of a volume axial slices are drawn, those where its structures are largest.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.core.colours import rgb_number
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.pictures import captions
from medseg.delivery.pictures.drawing import is_colour, structures_in, window
from medseg.delivery.pictures.planes import Plane, planes_through

_AREA = 0.3
"""Opacity of a structure's area; its outline is opaque."""
_MOST_SLICES = 4
_HEIGHT = 320
"""Least height of a slice in the picture, in pixels: small images are enlarged by whole factors."""
_WIDEST = 4096
"""Greatest width or height of a slice in the picture: larger images are drawn smaller."""
_GAP = 6


def draw_overlay(scan: Image, answer: Image, labels: Labels) -> bytes:
    """Return a PNG of an answer over its scan.

    Args:
        scan: (channel, z, y, x), finite; three channels of 8 bits are drawn in colour, of others the first in grey.
        answer: (1, z, y, x) label values, on the grid of the scan.
        labels: the structures; each has the colour that it has everywhere (`medseg.core.colours`).

    Raises:
        DataError: the answer holds a value that no structure declares.
        ValueError: scan and answer have different shapes.
    """
    from PIL import Image as pillow
    from PIL import ImageDraw

    if scan.shape_zyx != answer.shape_zyx:
        raise ValueError(f"the scan has shape {scan.shape_zyx}, the answer {answer.shape_zyx}")
    foreground = answer.array[0] != labels.background
    low, high = window(scan, foreground)
    planes = overlay_planes(answer, labels)
    panels = [_panel(plane, scan, answer, labels, (low, high)) for plane in planes]
    masks = [structures_in(labels, plane.cut(answer.array)[0]) for plane in planes]
    seen = [name for name in labels.names if any(name in present for present in masks)]
    width = sum(panel.shape[1] for panel in panels) + _GAP * (len(panels) + 1)
    lines = captions.legend_lines(
        captions.structure_entries(labels, seen) or [("no structure", captions.GROUND)], width
    )
    tallest = max(panel.shape[0] for panel in panels)
    height = tallest + 2 * _GAP + captions.LINE_HEIGHT * len(lines)
    canvas = pillow.new("RGB", (width, height), captions.GROUND)
    left = _GAP
    for panel in panels:
        canvas.paste(pillow.fromarray(panel), (left, _GAP))
        left += panel.shape[1] + _GAP
    captions.draw_legend(ImageDraw.Draw(canvas), _GAP, tallest + _GAP, lines)
    stream = io.BytesIO()
    canvas.save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def overlay_planes(answer: Image, labels: Labels) -> list[Plane]:
    """Return the planes of an overlay: that of a 2D image; of a volume the axial slice where each structure is largest.

    A slice that shows several structures at their largest is drawn once; of very many the first are drawn.

    Args:
        answer: (1, z, y, x) label values.
        labels: the structures.
    """
    values = answer.array[0]
    first = planes_through(answer, values != labels.background)[0]
    oriented = first.orientation.apply(values[np.newaxis])[0]
    others = tuple(axis for axis in range(3) if axis != first.axis)
    if oriented.shape[first.axis] == 1:
        return [first]
    largest = []
    for members in labels.members.values():
        areas = np.count_nonzero(np.isin(oriented, members), axis=others)
        if areas.any():
            largest.append(int(areas.argmax()))
    chosen = sorted({*list(dict.fromkeys(largest))[:_MOST_SLICES]}) or [first.index]
    return [replace(first, index=index) for index in chosen]


def _panel(plane: Plane, scan: Image, answer: Image, labels: Labels, levels: tuple[float, float]) -> NDArray[np.uint8]:
    """Return a slice with its structures, as RGB, in the proportions of its pixels."""
    from PIL import Image as pillow

    slice_ = plane.cut(scan.array if is_colour(scan) else scan.array[:1]).astype(np.float32)
    low, high = (0.0, 255.0) if is_colour(scan) else levels
    shown = (np.clip((slice_ - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    rows, columns = shown.shape[1:]
    pixels = np.moveaxis(np.broadcast_to(shown, (3, rows, columns)), 0, -1)
    size = _size(rows * plane.pixel[0], columns * plane.pixel[1], rows)
    panel = np.array(pillow.fromarray(pixels).resize(size, pillow.Resampling.BILINEAR), np.float32)
    nearest = np.ix_(np.arange(size[1]) * rows // size[1], np.arange(size[0]) * columns // size[0])
    for name, mask in structures_in(labels, plane.cut(answer.array)[0]).items():
        colour = np.array(rgb_number(labels.names.index(name)), np.float32)
        enlarged = mask[nearest]
        panel[enlarged] = (1 - _AREA) * panel[enlarged] + _AREA * colour
        panel[_outline(enlarged)] = colour
    return panel.astype(np.uint8)


def _size(height: float, width: float, rows: int) -> tuple[int, int]:
    """Return width and height of a panel in pixels.

    Args:
        height: of the slice, in the unit of its pixels.
        width: likewise.
        rows: of voxels; where pixels are square, each becomes a whole number of pixels of the picture.
    """
    wanted = max(rows, rows * -(-_HEIGHT // rows) if rows < _HEIGHT else rows)
    scale = min(wanted / height, _WIDEST / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask that touch its outside; the edge of the picture is none."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
