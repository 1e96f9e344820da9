"""Which module reads and writes which file: one table from suffix to format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.dicom.elements.paths import instances, means_dicom
from medseg.io.formats import gipl, metaimage, mgh, minc, nifti, nrrd, raster, tiff
from medseg.io.formats.stack import Stack


class Format(Protocol):
    """What a module of one format family offers. Readers may raise anything: it is told as a `DataError` here."""

    def read(self, path: Path) -> Stack:
        """Intensities as they are meant, scaling applied."""

    def read_mask(self, path: Path) -> Stack:
        """Label values as they are stored; the same as `read` but for pictures with a palette."""

    def write(self, path: Path, image: Image, like: Path | None) -> None:
        """Write one channel of whole numbers; geometry fields are those of `like` where it is of the same family."""


FORMATS: dict[str, Format] = {
    ".nii.gz": nifti,
    ".nii": nifti,
    ".hdr.gz": nifti,
    ".hdr": nifti,
    ".img.gz": nifti,
    ".img": nifti,
    ".mgz": mgh,
    ".mgh": mgh,
    ".mnc": minc,
    ".seg.nrrd": nrrd,
    ".nrrd": nrrd,
    ".nhdr": nrrd,
    ".mha": metaimage,
    ".mhd": metaimage,
    ".gipl.gz": gipl,
    ".gipl": gipl,
    ".ome.tiff": tiff,
    ".ome.tif": tiff,
    ".tiff": tiff,
    ".tif": tiff,
    ".png": raster,
    ".bmp": raster,
    ".gif": raster,
    ".jpg": raster,
    ".jpeg": raster,
}
_ANSWERS = {
    ".hdr.gz": ".nii.gz",
    ".hdr": ".nii.gz",
    ".img.gz": ".nii.gz",
    ".img": ".nii.gz",
    ".mnc": ".nii.gz",
    ".nhdr": ".nrrd",
    ".mhd": ".mha",
    ".gif": ".png",
    ".jpg": ".png",
    ".jpeg": ".png",
}
"""Suffixes that no answer is written in, with that of the same family, or the lossless one, that it gets."""
_DATA_FILES = (".img", ".img.gz")
_PARTS: dict[str, Callable[[Path], list[Path]]] = {
    ".hdr.gz": nifti.parts,
    ".hdr": nifti.parts,
    ".img.gz": nifti.parts,
    ".img": nifti.parts,
    ".nhdr": nrrd.parts,
    ".mhd": metaimage.parts,
    **dict.fromkeys((".ome.tiff", ".ome.tif", ".tiff", ".tif"), tiff.parts),
}
"""The files that an image consists of, for formats in which these may be several."""


def format_of(path: Path) -> Format:
    """The format of a file that is there.

    Raises:
        DataError: it is not, or is a folder, empty, or of an unknown format.
    """
    suffix = split_suffix(path)[1]
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; expected an image file.")
        if not path.is_file():
            raise DataError(
                f"There is no file {path}.", "Check the path, and that links and network drives are in place."
            )
        if suffix not in FORMATS:
            refuse_unknown(path)
        if path.stat().st_size == 0:
            raise DataError(
                f"{path} is empty (0 bytes).", "The copy or export was interrupted: do it again.", "truncated"
            )
    except (OSError, ValueError) as error:  # a name that the file system does not take
        raise DataError(f"{path} cannot be opened: {error}.", "Check the path and its permissions.") from None
    return FORMATS[suffix]


def is_image(path: Path) -> bool:
    """Whether the name is that of an image which medseg reads.

    Hidden files (macOS `._` copies) are not, and of a pair of header and data only the header is.
    """
    suffix = split_suffix(path)[1]
    return suffix in FORMATS and suffix not in _DATA_FILES and not Path(path).name.startswith(".")


def split_suffix(path: Path) -> tuple[str, str]:
    """Name without suffix, and the suffix in lower case; `.nii.gz` counts as one."""
    name = Path(path).name
    known = next((suffix for suffix in FORMATS if name.lower().endswith(suffix)), Path(name).suffix.lower())
    return name[: len(name) - len(known)], known


def answer_suffix(path: Path) -> str:
    """Suffix of the answer to an input: its own, or that of a format in which label maps are written."""
    suffix = split_suffix(path)[1]
    return _ANSWERS.get(suffix, suffix if suffix in FORMATS or not is_dicom(path) else ".nii.gz")


def is_dicom(path: Path) -> bool:
    """Whether a path names DICOM: a series in a folder or zip (`FOLDER#KEY`), or a file that begins as DICOM does."""
    return split_suffix(path)[1] not in FORMATS and means_dicom(Path(path))


def files_of(path: Path) -> list[Path]:
    """The file and the others that its image depends on: the data of a header, the spacing beside a TIFF.

    Of a DICOM series they are its instances. One that cannot be read stands for itself alone.
    """
    parts = _PARTS.get(split_suffix(path)[1])
    try:
        if is_dicom(path):
            return instances(path)
        return [path, *(part for part in parts(path) if part != path)] if parts else [path]
    except Exception:  # a damaged header: reading the file says what is wrong
        return [path]


def refuse_unknown(path: Path) -> NoReturn:
    """Raise the error for a file of an unknown format."""
    raise DataError(
        f"{path} is in a format that medseg does not know; it knows {', '.join(FORMATS)}.",
        "Convert it: volumes to .nii.gz, 2D images to .png. DICOM is given as the folder or zip of a study.",
    )
