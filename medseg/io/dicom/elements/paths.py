"""Decide which paths mean DICOM: a series (`FOLDER#KEY`), a file, or a member of a zip (`study.zip/RS.dcm`).

Every image path passes here, so that this module stays light: it imports neither pydicom nor the other rooms, and opens
no file whose name is that of another format.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medseg.io.dicom.elements.files import SUFFIXES, File, files_in, is_zip, looks_like_dicom

KEY_DIGITS = 10
"""Hexadecimal digits of the key of a series."""

_REFERENCE = re.compile(rf"(.+)#([0-9a-f]{{{KEY_DIGITS}}})", re.DOTALL)
_OTHER_SUFFIXES = (
    ".json", ".yaml", ".yml", ".csv", ".tsv", ".txt", ".md", ".html", ".pdf", ".py", ".jsonl", ".toml", ".xml",
)  # fmt: skip
_MAX_OPENED = 1000
"""A folder in which so many files were opened and none is DICOM counts as one without DICOM."""


@dataclass(frozen=True)
class Reference:
    """A series in a folder, a zip or a file.

    Attributes:
        container: the folder, zip or file.
        key: `Series.key` of the series.
    """

    container: Path
    key: str

    @property
    def path(self) -> Path:
        """The reference as one path, `CONTAINER#KEY`, which stands wherever others name a file."""
        return self.container.with_name(f"{self.container.name}#{self.key}")


def parse_reference(path: Path | str) -> Reference | None:
    """Return the series that a path refers to, or None if it is the path of a file. Nothing is read.

    A path is a reference if it ends in `#` and ten hexadecimal digits, and there is no file of that whole name.

    >>> parse_reference("study.zip#3f2a90c1d4").key
    '3f2a90c1d4'
    >>> parse_reference("study.zip") is None
    True
    """
    match = _REFERENCE.fullmatch(str(path))
    if match is None:
        return None
    return None if Path(path).exists() else Reference(Path(match[1]), match[2])


def means_dicom(path: Path) -> bool:
    """Return whether a path names a series, a DICOM file, or a member of a zip.

    Ask it only of paths whose suffix is that of no other image format: the first bytes of the file are read.
    """
    if parse_reference(path) is not None:
        return True
    file = file_at(path)
    return file is not None and (file.member is not None or is_dicom_file(file.path))


def file_at(path: Path) -> File | None:
    """Return the file, or the member of a zip, that a path names; None if there is neither."""
    try:
        if path.is_file():
            return File(path)
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive is None or not is_zip(archive):
            return None
    except OSError:  # a name that the file system does not accept
        return None
    return File(archive, path.relative_to(archive).as_posix())


def is_dicom_file(path: Path) -> bool:
    """Return whether a file begins as DICOM does; pipes, sockets and devices are not opened, as that may block."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return looks_like_dicom(stream)
    except OSError:
        return False


def holds_dicom(folder: Path, image_suffixes: Collection[str]) -> bool:
    """Return whether a folder or a zip holds DICOM, by opening a few files that may be DICOM by their names.

    Args:
        folder: the folder or zip, searched to any depth.
        image_suffixes: suffixes of images in other formats, which are not opened.

    Raises:
        DataError: a folder cannot be listed, or the zip is damaged or not safe to read.
    """
    if not folder.is_dir() and not (folder.suffix.lower() == ".zip" and is_zip(folder)):
        return False
    opened = 0
    for file in files_in(folder):
        name = (file.member or file.path.name).rsplit("/", 1)[-1].lower()
        if name.endswith((*image_suffixes, *_OTHER_SUFFIXES)):
            continue
        if name.endswith(SUFFIXES) or name == "dicomdir":
            return True
        opened += 1
        if is_dicom_file(file.path) if file.member is None else _is_dicom_member(file):
            return True
        if opened >= _MAX_OPENED:
            return False
    return False


def _is_dicom_member(file: File) -> bool:
    with file.open() as stream:
        return looks_like_dicom(stream)
