"""Answers in colour, when asked for: pictures of answers over their scans, and label maps as PNG with a palette."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.core.case import Case
from medseg.core.errors import PlanError
from medseg.core.files import atomic
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.plans.sections.data import Data

OVERLAYS = "overlays"
"""Folder of the pictures, in the folder of the answers."""
_MOST_VALUES = 256
"""A palette has no more entries."""


@dataclass(frozen=True)
class Pictures:
    """Which pictures are written.

    Attributes:
        overlay: draw each answer over its scan: overlays/CASE.png.
        palette: write label maps that are PNG with a palette.
        data: says how scans are read; needed for overlays.
    """

    overlay: bool = False
    palette: bool = False
    data: Data | None = None

    def check(self, labels: Labels) -> None:
        """Refuse a palette that cannot hold the label values: now, and not for each case.

        Args:
            labels: the structures.

        Raises:
            PlanError: a value is negative or above 255.
        """
        values = labels.decisions
        if self.palette and not 0 <= min(values) <= max(values) < _MOST_VALUES:
            raise PlanError(
                f"--palette was given, and the label values run from {min(values)} to {max(values)}; a palette of a "
                "PNG has the values 0 to 255.",
                "Leave --palette out.",
            )

    def files(self, case: Case, output: Path) -> list[Path]:
        """Return the path of every picture of a case.

        Args:
            case: the case.
            output: folder of the answers.
        """
        return [output / OVERLAYS / f"{case.id}.png"] if self.overlay else []

    def write(self, case: Case, answer: Image, output: Path, labels: Labels) -> list[Path]:
        """Write the pictures of a case and return their paths.

        Args:
            case: which case; its scan is read again.
            answer: label values (1, z, y, x) on the scan's grid.
            output: folder of the answers.
            labels: the structures.

        Raises:
            MedsegError: the scan can no longer be read.
        """
        files = self.files(case, output)
        if files and self.data is not None:
            from medseg.delivery.pictures.overlay import draw_overlay
            from medseg.io.load import load_case_image

            scan = load_case_image(case, len(self.data.channels), self.data.reading)
            with atomic(files[0]) as path:
                path.write_bytes(draw_overlay(scan, answer, labels).png)
        return files

    def has_palette(self, path: Path) -> bool:
        """Return whether a label map gets a palette: it is PNG, and that was asked for."""
        return self.palette and path.name.lower().endswith(".png")

    @staticmethod
    def write_palette(path: Path, answer: Image, labels: Labels) -> None:
        """Write a label map as PNG with the colours of the structures.

        Args:
            path: the file.
            answer: label values (1, z, y, x).
            labels: the structures.
        """
        from medseg.io.formats.raster import write_with_palette

        write_with_palette(path, answer, palette_of(labels))


def palette_of(labels: Labels) -> dict[int, tuple[int, int, int]]:
    """Return {written value: colour}, the colours being those of `medseg.core.colours`; the background is black.

    >>> palette_of(Labels(structures={"liver": 3}))
    {0: (0, 0, 0), 3: (86, 180, 233)}
    """
    from medseg.core.colours import rgb_number

    colours = {} if labels.background is None else {labels.background: (0, 0, 0)}
    return colours | {value: rgb_number(number) for number, value in enumerate(labels.written_values.values())}
