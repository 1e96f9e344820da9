"""A picture of an answer over its scan: structures as coloured areas with outlines, for a look at a folder of answers.

A 2D image is drawn whole, pixel by pixel. Of a volume axial slices are drawn, those where its structures are largest.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.pictures import captions
from medseg.delivery.pictures.drawing import structures_in, window
from medseg.delivery.pictures.slices import Style, draw_slice, largest_slices

_STYLE = Style(area=0.3, line=1, height=320, widest=4096)
_MOST_SLICES = 4
_GAP = 6


@dataclass(frozen=True)
class Overlay:
    """A picture of an answer over its scan.

    Attributes:
        png: the file.
        directions: of all its slices, as `Plane.directions`; None where they differ or are not known.
    """

    png: bytes
    directions: tuple[str, str] | None


def draw_overlay(scan: Image, answer: Image, labels: Labels) -> Overlay:
    """Return a picture of an answer over its scan.

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
    levels = window(scan, foreground)
    planes = [shown.plane for shown in largest_slices(answer, labels, _MOST_SLICES)]
    panels = [draw_slice(plane, scan, answer, labels, levels, _STYLE) for plane in planes]
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
    directions = {plane.directions for plane in planes}
    return Overlay(stream.getvalue(), directions.pop() if len(directions) == 1 else None)
