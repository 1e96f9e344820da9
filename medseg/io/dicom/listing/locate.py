"""Find the series, or the files, that a path names (`FOLDER#KEY`, a DICOM file, a member of a zip)."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.dicom.elements.paths import Reference, file_at, parse_reference
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.listing.find import find_series

_MAX_TITLES = 5


def series_at(path: Path) -> Series:
    """Return the series that a path names, or the only one in a file; headers are read, no pixels.

    Headers are read only if the container has changed since it was last listed.

    Raises:
        DataError: there is none, or a file holds several.
    """
    reference = parse_reference(path)
    if reference is not None:
        return _referenced(reference)
    file = file_at(path)
    if file is None or file.member is not None:
        raise DataError(
            f"There is no DICOM series {path}.", "Name one as FOLDER#KEY; `medseg series FOLDER` lists them."
        )
    listing = find_series(file.path)
    if len(listing.series) != 1:
        reason = ", ".join(listing.counts()) or f"it holds {len(listing.series)} series"
        raise DataError(f"{path} is a DICOM file, but no image that can be read by itself: {reason}.")
    return listing.series[0]


def instance_files(path: Path) -> list[Path]:
    """Return the files that a series or a DICOM file consists of, once each; of a zip, the zip itself.

    Raises:
        DataError: the series is not there any more.
    """
    reference = parse_reference(path)
    if reference is not None:
        return list(dict.fromkeys(slice_.file.path for slice_ in _referenced(reference).slices))
    file = file_at(path)
    return [path if file is None else file.path]


def _referenced(reference: Reference) -> Series:
    listing = find_series(reference.container)
    matching = next((series for series in listing.series if series.key == reference.key), None)
    if matching is None:
        titles = ", ".join(series.title for series in listing.series[:_MAX_TITLES]) or "none"
        raise DataError(
            f"{reference.container} holds no series with the key {reference.key}; it holds {titles}.",
            f"medseg series {reference.container} lists them.",
        )
    return matching
