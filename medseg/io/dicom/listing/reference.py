"""A series as one path, `CONTAINER#KEY`, so that a case can name it where others name a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medseg.core.errors import DataError
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.series import KEY_DIGITS, Series

_NAMED = re.compile(rf"(.+)#([0-9a-f]{{{KEY_DIGITS}}})", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """A series in a folder, a zip or a file.

    Attributes:
        container: where it lies.
        key: which one it is, `Series.key`.
    """

    container: Path
    key: str

    @property
    def path(self) -> Path:
        """The reference as one path."""
        return self.container.with_name(f"{self.container.name}#{self.key}")


def reference_to(series: Series) -> Reference:
    """The reference to a series."""
    return Reference(series.container, series.key)


def parse_reference(path: Path | str) -> Reference | None:
    """What a path refers to; None where it is the path of a file. Nothing is read.

    A path is a reference if its last ten characters after a `#` are hexadecimal digits, what stands before exists,
    and there is no file of that whole name.
    """
    match = _NAMED.fullmatch(str(path))
    if match is None:
        return None
    return None if Path(path).exists() else Reference(Path(match[1]), match[2])


def series_of(reference: Reference) -> Series:
    """The series that is meant; headers are read only if the container has changed since it was last looked at.

    Raises:
        DataError: the container is gone, or holds no such series any more.
    """
    listing = find_series(reference.container)
    found = next((one for one in listing.series if one.key == reference.key), None)
    if found is None:
        titles = ", ".join(one.title for one in listing.series[:5]) or "none"
        raise DataError(
            f"{reference.container} holds no series with the key {reference.key}; it holds {titles}.",
            f"medseg series {reference.container} lists them.",
        )
    return found


def instances_of(reference: Reference) -> list[Path]:
    """The files that a series consists of, once each, for hashing; of a zip, the zip itself.

    Raises:
        DataError: as `series_of`.
    """
    return list(dict.fromkeys(one.file.path for one in series_of(reference).slices))
