"""A picture of the same few slices after each validation: image, reference, prediction and difference, as one PNG.

It is drawn with pillow and NumPy alone, in a few hundredths of a second, so that a training does not wait for it.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.colours import rgb_number
from medseg.core.labels import IGNORE, Labels
from medseg.delivery.pictures import captions
from medseg.delivery.pictures.drawing import WINDOW_PERCENTILES

COLUMNS = ("image", "reference", "prediction", "difference")
MISSED, INVENTED, MISTAKEN = (230, 90, 60), (80, 160, 255), (255, 255, 255)
"""Colours of the difference: in the reference alone, in the prediction alone, another structure than the reference."""

_DIFFERENCES = (("missed", MISSED), ("invented", INVENTED), ("another structure", MISTAKEN))
_IGNORED = (120, 120, 120)
_CELL = 240
"""Longest side of a slice in the picture, in pixels."""
_GAP, _TITLE = 6, 20
_AREA = 0.65
"""Opacity of a structure over the image."""


@dataclass(frozen=True)
class Slice:
    """A slice of a validation case, on the network's grid.

    Attributes:
        case: id of the case.
        image: (channel, row, column), the normalized scan.
        reference: (row, column) indices into `Labels.values`; negative where nothing was annotated.
        prediction: (row, column), likewise.
        pixel: height and width of a pixel, in one unit.
        colour: the first three channels are red, green and blue; else the first channel is drawn in grey.
        annotated: names of the structures that were annotated; None for all. The difference has only these.
        detail: a few words below the name of the case, such as its Dice.
    """

    case: str
    image: NDArray[np.floating]
    reference: NDArray[np.integer]
    prediction: NDArray[np.integer]
    pixel: tuple[float, float] = (1.0, 1.0)
    colour: bool = False
    annotated: Collection[str] | None = None
    detail: str = ""


def draw_slices(slices: Sequence[Slice], labels: Labels) -> bytes:
    """Return a PNG with a row for each slice and the columns `COLUMNS`, and a legend below.

    Args:
        slices: the slices to draw.
        labels: the structures; each has the colour that it has everywhere (`medseg.core.colours`).

    Raises:
        ValueError: there is nothing to draw.
    """
    from PIL import Image as pillow
    from PIL import ImageDraw

    if not slices:
        raise ValueError("there is no slice to draw")
    rows = [[_enlarged(panel, slice_.pixel) for panel in panels(slice_, labels)] for slice_ in slices]
    width = max(len(COLUMNS) * max(cell.width for cell in row) + (len(COLUMNS) - 1) * _GAP for row in rows)
    structures = captions.structure_entries(labels, labels.names)
    legend = captions.legend_lines(structures, width) + captions.legend_lines(_DIFFERENCES, width)
    height = sum(row[0].height + _TITLE + _GAP for row in rows) + _TITLE + captions.LINE_HEIGHT * len(legend)
    canvas = pillow.new("RGB", (width + 2 * _GAP, height + _GAP), captions.GROUND)
    draw = ImageDraw.Draw(canvas)
    step = (width + _GAP) // len(COLUMNS)
    for number, name in enumerate(COLUMNS):
        captions.write(draw, (_GAP + number * step, 3), name, captions.QUIET)
    top = _TITLE
    for slice_, row in zip(slices, rows, strict=True):
        captions.write(draw, (_GAP, top + 2), f"{captions.shorten(slice_.case)}   {slice_.detail}", captions.INK)
        for number, cell in enumerate(row):
            canvas.paste(cell, (_GAP + number * step, top + _TITLE))
        top += row[0].height + _TITLE + _GAP
    captions.draw_legend(draw, _GAP, top, legend)
    stream = io.BytesIO()
    canvas.save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def panels(slice_: Slice, labels: Labels) -> list[NDArray[np.uint8]]:
    """Return the four panels of a slice, (row, column, 3) each, in the order of `COLUMNS`."""
    image = _window(slice_.image[:3] if slice_.colour else slice_.image[:1])
    dim = image // 2
    return [
        image,
        _painted(image, slice_.reference, labels),
        _painted(image, slice_.prediction, labels),
        _difference(dim, slice_, labels),
    ]


def describe_slices(slices: Sequence[Slice], step: int) -> str:
    """Return a description of the picture, for those who do not see it."""
    cases = ", ".join(slice_.case for slice_ in slices)
    return f"After step {step}, a slice each of {cases}: {', '.join(COLUMNS[:-1])} and {COLUMNS[-1]}"


def _window(channels: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return intensities as (row, column, 3) in 8 bits."""
    values = np.nan_to_num(channels.astype(np.float32))
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    shown = (np.clip((values - low) / ((high - low) or 1), 0, 1) * 255).astype(np.uint8)
    return np.moveaxis(np.broadcast_to(shown, (3, *shown.shape[1:])), 0, -1)


def _masks(indices: NDArray[np.integer], labels: Labels) -> NDArray[np.bool_]:
    """Return (structures, row, column): where each structure is; nowhere where the index is negative."""
    # the last column stands for negative indices: they belong to no structure
    membership = np.pad(labels.membership, ((0, 0), (0, 1)))
    return membership[:, np.maximum(indices, IGNORE)]


def _painted(image: NDArray[np.uint8], indices: NDArray[np.integer], labels: Labels) -> NDArray[np.uint8]:
    """Return the image with the areas of its structures, the last of overlapping ones on top."""
    painted = image.astype(np.float32)
    for number, mask in enumerate(_masks(indices, labels)):
        painted[mask] = (1 - _AREA) * image[mask] + _AREA * np.array(rgb_number(number), np.float32)
    painted[indices == IGNORE] = _IGNORED
    return painted.astype(np.uint8)


def _difference(image: NDArray[np.uint8], slice_: Slice, labels: Labels) -> NDArray[np.uint8]:
    """Return where the prediction differs from the reference, of the structures that were annotated."""
    chosen = [slice_.annotated is None or name in slice_.annotated for name in labels.names]
    reference, prediction = (_masks(indices, labels)[chosen] for indices in (slice_.reference, slice_.prediction))
    missed = (reference & ~prediction).any(axis=0)
    invented = (prediction & ~reference).any(axis=0)
    known = slice_.reference != IGNORE
    difference = image.copy()
    difference[missed & ~invented & known] = MISSED
    difference[invented & ~missed & known] = INVENTED
    difference[missed & invented & known] = MISTAKEN
    return difference


def _enlarged(panel: NDArray[np.uint8], pixel: tuple[float, float]) -> Any:
    """Return a panel as an image whose longer side has `_CELL` pixels, in the proportions of its pixels."""
    from PIL import Image as pillow

    height, width = panel.shape[0] * pixel[0], panel.shape[1] * pixel[1]
    scale = _CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # nearest neighbour: what is shown are the pixels that the network sees and answers
    return pillow.fromarray(panel).resize(size, pillow.Resampling.NEAREST)
