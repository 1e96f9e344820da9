"""Small pictures of a case: its middle slices with the outlines of its structures, quick to draw by the hundred."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from medseg.core.colours import rgb_number
from medseg.core.image import Image
from medseg.delivery.pictures.drawing import WINDOW_PERCENTILES, is_colour
from medseg.delivery.pictures.planes import Plane, planes_through

HEIGHT = 168
"""Of a picture, in pixels."""

_WIDEST = 3 * HEIGHT
"""Of one plane, in pixels: a long slice is squeezed rather than made wider."""
_GAP = 6
_GROUND = (17, 20, 24)
_LINE = 2
"""Width of an outline, in pixels."""


def thumbnail(image: Image, label: NDArray[np.integer] | None, background: int = 0) -> tuple[bytes, str]:
    """Return a PNG of a scan, and what it shows in words.

    A volume is shown in three planes through the middle of its structures, a 2D image whole. Each label value has a
    colour of its own.

    Args:
        image: The scan (channel, z, y, x); three channels of 8 bits are drawn in colour, of others the first in grey.
        label: Label values (z, y, x), or None.
        background: Label value that is not outlined.
    """
    from PIL import Image as pillow

    values = np.full(image.shape_zyx, background, np.int32) if label is None else label
    shown = image.array if is_colour(image) else image.array[:1]
    structures = np.setdiff1d(values, [background])
    planes = planes_through(image, values != background)
    panels = [_panel(plane, shown, values, structures) for plane in planes]
    width = sum(panel.shape[1] for panel in panels) + _GAP * (len(panels) - 1)
    canvas = np.full((HEIGHT, width, 3), _GROUND, np.uint8)
    left = 0
    for panel in panels:
        canvas[: panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + _GAP
    stream = io.BytesIO()
    pillow.fromarray(canvas).save(stream, "PNG", compress_level=6)
    return stream.getvalue(), _in_words(planes, label is not None, structures)


def _panel(plane: Plane, scan: NDArray, values: NDArray, structures: NDArray) -> NDArray[np.uint8]:
    """Return one plane with its outlines, as RGB (HEIGHT, width, 3)."""
    from PIL import Image as pillow

    slice_ = plane.cut(scan).astype(np.float32)
    low, high = np.percentile(slice_, WINDOW_PERCENTILES)
    grey = np.clip((slice_ - low) / ((high - low) or 1), 0, 1) * 255
    rows, columns = slice_.shape[1:]
    width = round(columns * plane.pixel[1] / (rows * plane.pixel[0]) * HEIGHT)
    size = (min(max(width, 1), _WIDEST), HEIGHT)
    pixels = np.moveaxis(np.broadcast_to(grey, (3, rows, columns)), 0, -1).astype(np.uint8)
    panel = np.array(pillow.fromarray(pixels).resize(size, pillow.Resampling.BILINEAR))
    voxels = np.ix_(_nearest(HEIGHT, rows), _nearest(size[0], columns))
    enlarged = plane.cut(values[np.newaxis])[0][voxels]
    for number, value in enumerate(structures.tolist()):
        panel[_outline(enlarged == value)] = rgb_number(number)
    return panel


def _nearest(pixels: int, voxels: int) -> NDArray[np.intp]:
    """Return the index of the voxel that each pixel along an axis shows."""
    return np.arange(pixels) * voxels // pixels


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask within `_LINE` pixels of its border; the edge of the picture is a border, too."""
    inner = np.pad(mask, _LINE)
    for _ in range(_LINE):
        inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return mask & ~inner[_LINE:-_LINE, _LINE:-_LINE]


def _in_words(planes: list[Plane], has_label: bool, structures: NDArray) -> str:
    """Return a description of a picture, for those who do not see it."""
    names = ", ".join(plane.name for plane in planes if plane.name)
    three = f"{names} slices" if names else "three slices"
    slices = "the image" if len(planes) == 1 else three
    if not has_label:
        return f"{slices}, without label"
    if not structures.size:
        return f"{slices}; the label marks nothing"
    values = ", ".join(map(str, structures.tolist()[:8]))
    return f"{slices} with the outline of the label value{'s' * (structures.size > 1)} {values}"
