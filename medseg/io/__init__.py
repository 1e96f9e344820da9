"""Images in files: one table from suffix to the module that knows the format.

No reader turns or flips anything: an array comes as (channel, z, y, x) with an affine that says how it lies.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn, Protocol

from medseg.errors import DataError
from medseg.image import Image
from medseg.io import nifti, raster
from medseg.labels import whole_numbers


class Format(Protocol):
    """What a module of one format family offers."""

    def read(self, path: Path) -> Image:
        """Intensities, in as many channels as the file holds."""

    def read_mask(self, path: Path) -> Image:
        """Label values as they are stored, not rounded to fewer bits."""

    def write(self, path: Path, image: Image, like: Path | None) -> None:
        """Write one channel of whole numbers."""


FORMATS: dict[str, Format] = {
    ".nii.gz": nifti,
    ".nii": nifti,
    ".png": raster,
    ".bmp": raster,
    ".jpg": raster,
    ".jpeg": raster,
}
_LOSSY = {".jpg": ".png", ".jpeg": ".png"}


def read_image(path: Path) -> Image:
    """Read a scan as (channel, z, y, x): integers where the file stores plain integers, else float32.

    Raises:
        DataError: the file is missing, damaged, of an unknown format, or holds NaN or infinity.
    """
    return _format(Path(path)).read(Path(path))


def read_label(path: Path) -> Image:
    """Read a label map as (1, z, y, x) integers; whole numbers stored as floating point are accepted.

    Raises:
        DataError: as `read_image`, or several channels, or a value that is not a whole number.
    """
    image = _format(Path(path)).read_mask(Path(path))
    if image.array.shape[0] != 1:
        raise DataError(
            f"{path} holds {image.array.shape[0]} channels; a label file holds one value per voxel.",
            "Merge the channels into one map in which each structure has a value of its own.",
        )
    return image.with_array(whole_numbers(image.array, str(path)))


def write_label(path: Path, image: Image, like: Path | None = None) -> None:
    """Write (1, z, y, x) whole numbers in the smallest integer type, under a temporary name first.

    Args:
        path: the format follows from its suffix.
        image: the label map on its grid.
        like: the scan that the labels belong to; a NIfTI file is answered with its own sform, qform and units.

    Raises:
        DataError: the format cannot hold the image or its values.
    """
    path = Path(path)
    suffix = split_suffix(path)[1]
    if suffix not in FORMATS:
        _refuse(path)
    if suffix in _LOSSY:
        raise DataError(f"{path}: {suffix} changes label values.", f"Write {_LOSSY[suffix]} instead.")
    FORMATS[suffix].write(path, image, None if like is None else Path(like))


def is_image(path: Path) -> bool:
    """Whether the name is that of an image which medseg reads; hidden files (macOS `._` copies) are not."""
    return split_suffix(path)[1] in FORMATS and not Path(path).name.startswith(".")


def split_suffix(path: Path) -> tuple[str, str]:
    """Name without suffix, and the suffix in lower case; `.nii.gz` counts as one."""
    name = Path(path).name
    known = next((suffix for suffix in FORMATS if name.lower().endswith(suffix)), Path(name).suffix.lower())
    return name[: len(name) - len(known)], known


def answer_suffix(path: Path) -> str:
    """Suffix of the answer to an input: its own, or that of a lossless format."""
    suffix = split_suffix(path)[1]
    return _LOSSY.get(suffix, suffix)


def _format(path: Path) -> Format:
    suffix = split_suffix(path)[1]
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected an image file.")
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path, and that links and network drives are in place.")
    if suffix not in FORMATS:
        _refuse(path)
    return FORMATS[suffix]


def _refuse(path: Path) -> NoReturn:
    raise DataError(
        f"{path} is in a format that medseg does not know; it knows {', '.join(FORMATS)}.",
        "Convert it: volumes to .nii.gz, 2D images to .png.",
    )
