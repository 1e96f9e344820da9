"""Find the one scan that a folder or zip stands for, where a file is expected: the only series of a DICOM study."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.dicom.elements.paths import Reference, holds_dicom, parse_reference
from medseg.io.formats.table import FORMATS

_PAGE = "index.html"
_MOST_LISTED = 10


def scan_path(path: Path) -> Path:
    """Return the path of a scan: of a study with one series that series, of anything else the path as it is.

    Args:
        path: a file, a series as `FOLDER#KEY`, or the folder or zip of a study.

    Raises:
        DataError: it is a folder without a series, or a study with several.
    """
    if parse_reference(path) is not None or not (path.is_dir() or path.suffix.lower() == ".zip"):
        return path
    if not holds_dicom(path, tuple(FORMATS)):
        if not path.is_dir():
            return path
        raise DataError(f"{path} is a folder; expected a file, or one series as FOLDER#KEY.", _what_to_open(path))
    from medseg.io.dicom.listing.channel import describe  # loaded only for DICOM
    from medseg.io.dicom.listing.find import find_series

    series = find_series(path).series
    if len(series) == 1:
        return Reference(path, series[0].key).path
    folders = [f"in {volume.folder}: " if volume.folder != "." else "" for volume in series]
    lines = [f"\n  {folder}{describe(volume)}" for folder, volume in zip(folders, series, strict=True)]
    more = f"\n  and {len(series) - _MOST_LISTED} more" * (len(series) > _MOST_LISTED)
    if not series:
        raise DataError(f"{path} holds no series of images; expected a scan.", _what_to_open(path))
    raise DataError(
        f"{path} holds {len(series)} series, and one is expected:{''.join(lines[:_MOST_LISTED])}{more}",
        f"Name one with its key, which stands in brackets: '{Reference(path, series[0].key).path}'",
    )


def _what_to_open(folder: Path) -> str:
    """Return what to do with a folder that is no study."""
    if (folder / _PAGE).is_file():
        return f"Open {folder / _PAGE} in a browser: it shows all answers in the folder. Or name one file of it."
    return "`medseg series FOLDER` lists DICOM series, `medseg check FOLDER` looks through a data set."
