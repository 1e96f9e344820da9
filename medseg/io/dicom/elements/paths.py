"""Which paths mean DICOM: a series (`FOLDER#KEY`), a file, or a member of a zip (`study.zip/RS.dcm`).

Paths of other images are told apart by their names, without a look at the disk.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from medseg.io.dicom.elements.dataset import looks_like_dicom
from medseg.io.dicom.elements.files import File, files_in, is_zip
from medseg.io.dicom.elements.kinds import SUFFIXES
from medseg.io.dicom.listing.reference import instances_of, parse_reference

_OTHER = (".json", ".yaml", ".yml", ".csv", ".tsv", ".txt", ".md", ".html", ".pdf", ".py", ".jsonl", ".toml", ".xml")
_MOST_TRIED = 1000


def means_dicom(path: Path) -> bool:
    """Whether a path names a series, a DICOM file, or a member of a zip; for one that is no image by its name."""
    if parse_reference(path) is not None:
        return True
    file = file_of(path)
    return file is not None and (file.member is not None or is_dicom_file(file.path))


def file_of(path: Path) -> File | None:
    """The file that a path names, or the member of a zip; None if there is neither."""
    try:
        if path.is_file():
            return File(path)
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive is None or not is_zip(archive):
            return None
    except OSError:  # a name that the file system does not take
        return None
    return File(archive, path.relative_to(archive).as_posix())


def path_of(file: File) -> Path:
    """A file as one path, as `file_of` takes it apart."""
    return file.path if file.member is None else file.path / file.member


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM does."""
    try:
        with path.open("rb") as stream:
            return looks_like_dicom(stream)
    except OSError:
        return False


def holds_dicom(folder: Path, images: Collection[str]) -> bool:
    """Whether there is DICOM in a folder or a zip, by a look at a few files that may be such by their names.

    Args:
        folder: where to look, however deep.
        images: suffixes of images in other formats, which are passed over.
    """
    if not folder.is_dir() and not (folder.suffix.lower() == ".zip" and is_zip(folder)):
        return False
    tried = 0
    for file in files_in(folder):
        name = (file.member or file.path.name).rsplit("/", 1)[-1].lower()
        if name.endswith((*images, *_OTHER)):
            continue
        if name.endswith(SUFFIXES) or name == "dicomdir":
            return True
        tried += 1
        if file.member is None and is_dicom_file(file.path):
            return True
        if file.member is not None and _is_dicom_member(file):
            return True
        if tried >= _MOST_TRIED:
            return False
    return False


def instances(path: Path) -> list[Path]:
    """The files that a series, a file or a member of a zip consists of; of a zip, the zip itself.

    Raises:
        DataError: the series is not there any more.
    """
    reference = parse_reference(path)
    if reference is not None:
        return instances_of(reference)
    file = file_of(path)
    return [path if file is None else file.path]


def _is_dicom_member(file: File) -> bool:
    with file.open() as stream:
        return looks_like_dicom(stream)
