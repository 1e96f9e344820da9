"""`Segment`: what a label file says of one of its values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """A structure that a label file names.

    Attributes:
        name: its name.
        value: the value of its voxels in its layer.
        layer: the volume of the file that it lies in, from 0; segments that overlap lie in several.
        colour: red, green and blue, 0 to 255; None if it is not known.
        terminology: its codes as 3D Slicer writes them (`TerminologyEntry`); empty if they are not known.
    """

    name: str
    value: int
    layer: int = 0
    colour: tuple[int, int, int] | None = None
    terminology: str = ""

    @property
    def one_line(self) -> str:
        """Its name without line breaks and repeated spaces, which headers of text cannot hold."""
        return " ".join(self.name.split())


def colour_of_shares(shares: Iterable[str]) -> tuple[int, int, int] | None:
    """Return the colour of three numbers from 0 to 1; None for other texts.

    Args:
        shares: red, green and blue as a header has them.

    >>> colour_of_shares("1 0 0.2".split()), colour_of_shares(["red"]), colour_of_shares(["inf", "0", "0"])
    ((255, 0, 51), None, None)
    """
    try:
        red, green, blue = (round(255 * float(share)) for share in shares)
    except (ValueError, OverflowError):
        return None
    return (red, green, blue) if all(0 <= part <= 255 for part in (red, green, blue)) else None
