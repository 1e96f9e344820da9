"""`medseg series`: what DICOM series a folder or zip holds, and which of them are volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.core.progress import Callback, silent
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.dicom.elements.series import Listing, Series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.rules import matching_series


@dataclass(frozen=True)
class SeriesResult:
    """What was found.

    Attributes:
        listing: everything in the container.
        series: those that the rule fits; all without a rule.
    """

    listing: Listing
    series: tuple[Series, ...]

    @property
    def exit_code(self) -> int:
        """0: all are volumes; 1: some are not, or a file is damaged; 2: there is no series."""
        if not self.series:
            return 2
        return int(any(one.problems for one in self.series) or bool(self.listing.damaged))


def series(source: Path, rule: str | None = None, callback: Callback = silent) -> SeriesResult:
    """List the series of a folder, a zip, a DICOMDIR or a file, and what is left out.

    Args:
        source: where to look; or one series, FOLDER#KEY.
        rule: which of them to list; see `medseg.io.dicom.listing.rules`.
        callback: progress; may raise `Cancelled`.

    Raises:
        DataError: there is nothing at `source`, a zip is damaged, the rule is none, or pydicom is not installed.
    """
    reference = parse_reference(source)
    if reference is not None:
        source, rule = reference.container, rule or reference.key
    listing = find_series(source, callback)
    return SeriesResult(listing, tuple(matching_series(listing, rule)) if rule is not None else listing.series)


def series_record(one: Series) -> dict[str, Any]:
    """A series as plain values, without identifiers."""
    return {
        "key": one.key,
        "number": one.number,
        "description": one.description,
        "modality": one.modality,
        "split": one.volume_name,
        "plane": one.plane,
        "shape_zyx": list(one.shape_zyx),
        "spacing_mm": [round(value, 6) or None for value in one.spacing_mm],
        "folder": one.folder,
        "files": len({each.file for each in one.slices}),
        "problems": [
            {"problem": problem.kind, "message": problem.message, "option": problem.option} for problem in one.problems
        ],
        "notes": list(one.notes),
    }
