"""The colours of structures: the one table that pages, pictures of a training, overlays and palettes take them from."""

from __future__ import annotations

COLOURS = ("#56B4E9", "#E69F00", "#00B883", "#F0E442", "#CC79A7", "#D55E00", "#3A8FE0")
"""Okabe & Ito, Color Universal Design (2008), told apart with any colour vision; green and blue are lightened to stand
out on a dark ground."""

_TINTS = ((0.0, 255), (0.5, 255), (0.4, 0))
"""How much of white (255) or black (0) is mixed in when the colours are used for the first, second and third time."""


def colour_number(number: int) -> tuple[float, float, float]:
    """Return the colour (red, green, blue; 0 to 1) of the structure of a number, counted from 0.

    After the seventh structure the colours come again lighter, then darker, then as they are.

    >>> [round(255 * part) for part in colour_number(0)]
    [86, 180, 233]
    """
    round_, index = divmod(number, len(COLOURS))
    share, tint = _TINTS[round_ % len(_TINTS)]
    red, green, blue = ((1 - share) * part / 255 + share * tint / 255 for part in rgb(COLOURS[index]))
    return red, green, blue


def rgb_number(number: int) -> tuple[int, int, int]:
    """Return the colour of the structure of a number, counted from 0, in 8 bits.

    >>> rgb_number(0), rgb_number(7)
    ((86, 180, 233), (171, 218, 244))
    """
    red, green, blue = (round(255 * part) for part in colour_number(number))
    return red, green, blue


def hex_number(number: int) -> str:
    """Return the colour of the structure of a number, counted from 0, as pages write it.

    >>> hex_number(0)
    '#56b4e9'
    """
    return "#" + bytes(rgb_number(number)).hex()


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue (0 to 255) of a colour such as #56B4E9."""
    number = int(colour[1:], 16)
    return number >> 16, number >> 8 & 255, number & 255
