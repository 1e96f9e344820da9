"""Text and legends on pictures that are drawn with pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medseg.core.colours import rgb_number
from medseg.core.labels import Labels

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

GROUND, INK, QUIET = (17, 20, 24), (242, 242, 242), (163, 172, 181)
LINE_HEIGHT = 20
"""Of a line of text, in pixels."""

_FONT = 13
_MOST_LETTERS = 34
_MOST_ENTRIES = 20

Entry = tuple[str, tuple[int, int, int]]
"""A name and its colour."""


def structure_entries(labels: Labels, names: Sequence[str]) -> list[Entry]:
    """Return the entries of a legend for some structures, of very many only the first.

    Args:
        labels: all structures, in their order.
        names: those that are to be seen.
    """
    entries = [(name, rgb_number(labels.names.index(name))) for name in names[:_MOST_ENTRIES]]
    return [*entries, (f"and {len(names) - len(entries)} more", GROUND)] if len(names) > len(entries) else entries


def legend_lines(entries: Sequence[Entry], width: int) -> list[list[Entry]]:
    """Return the entries of a legend as lines that are no wider than a number of pixels."""
    lines: list[list[Entry]] = []
    left = width
    for name, colour in entries:
        if left + _entry_width(name) > width:
            lines.append([])
            left = 0
        lines[-1].append((name, colour))
        left += _entry_width(name)
    return lines


def draw_legend(draw: ImageDraw, left: int, top: int, lines: Sequence[Sequence[Entry]]) -> None:
    """Draw the lines of a legend, each `LINE_HEIGHT` pixels high.

    Args:
        draw: where to draw.
        left: first column, in pixels.
        top: first row, in pixels.
        lines: as `legend_lines` returns them.
    """
    for line in lines:
        x = left
        for name, colour in line:
            draw.rectangle((x, top + 5, x + 10, top + 15), fill=colour)
            write(draw, (x + 16, top + 3), name, INK)
            x += _entry_width(name)
        top += LINE_HEIGHT


def write(draw: ImageDraw, position: tuple[int, int], text: str, colour: tuple[int, int, int]) -> None:
    """Write a text, cut where it is very long; letters that the font cannot have become question marks.

    Args:
        draw: where to write.
        position: left and upper edge, in pixels.
        text: the text.
        colour: its colour.
    """
    from PIL import ImageFont

    try:
        draw.text(position, text, fill=colour, font=ImageFont.load_default(_FONT))
    except (UnicodeError, ImportError, TypeError):  # pillow without FreeType, or before 10.1: a font of Latin letters
        draw.text(position, text.encode("ascii", "replace").decode("ascii"), fill=colour)


def shorten(text: str) -> str:
    """Return a text, cut so that it fits above a slice."""
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _entry_width(name: str) -> int:
    return 34 + round(0.6 * _FONT * min(len(name), _MOST_LETTERS))
