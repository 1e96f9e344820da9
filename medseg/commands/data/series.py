"""`medseg series`: list the DICOM series of a folder or zip, and which of them are volumes."""

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
    """The series of a container.

    Attributes:
        listing: everything in the container.
        series: the series that the rule fits; all without a rule.
    """

    listing: Listing
    series: tuple[Series, ...]

    @property
    def exit_code(self) -> int:
        """0: all are volumes; 1: some are not, or a file is damaged; 2: there is no series."""
        if not self.series:
            return 2
        return int(any(series.problems for series in self.series) or bool(self.listing.damaged))


def series(source: str | Path, rule: str | None = None, callback: Callback = silent) -> SeriesResult:
    """List the series of a folder, a zip, a DICOMDIR or a file, and what is left out.

    Args:
        source: where to look; or one series, FOLDER#KEY.
        rule: which series to list; see `medseg.io.dicom.listing.rules`; None for all.
        callback: told of the progress; may raise `Cancelled`.

    Returns:
        Everything in the container, and the series that the rule fits.

    Raises:
        DataError: `source` does not exist, a zip is damaged, the rule is not valid, or pydicom is not installed.
    """
    source = Path(source)
    reference = parse_reference(source)
    rules = [text for text in (rule, None if reference is None else reference.key) if text is not None]
    listing = find_series(source if reference is None else reference.container, callback)
    found = listing.series
    for text in rules:
        fitting = matching_series(listing, text)
        found = tuple(one for one in found if one in fitting)
    return SeriesResult(listing, found)


def series_record(series: Series) -> dict[str, Any]:
    """Return a series as plain values, without identifiers of the patient."""
    return {
        "key": series.key,
        "number": series.number,
        "description": series.description,
        "modality": series.modality,
        "split": series.volume_name,
        "plane": series.plane,
        "shape_zyx": list(series.shape_zyx),
        "spacing_mm": [round(value, 6) or None for value in series.spacing_mm],
        "folder": series.folder,
        "files": len({image.file for image in series.slices}),
        "problems": [
            {"problem": problem.kind, "message": problem.message, "option": problem.option}
            for problem in series.problems
        ],
        "notes": list(series.notes),
    }
