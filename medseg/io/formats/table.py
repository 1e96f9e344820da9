"""The table of file formats: which functions read and write the files of a suffix, and what answers are written as.

A format of your own is one call of `register`; the formats that come with medseg are the rows below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NoReturn

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.replacing import atomic_with_parts, finish_replacing_file
from medseg.io.annotations import geojson
from medseg.io.dicom.elements.paths import means_dicom
from medseg.io.formats import gipl, itk, metaimage, mgh, minc, nifti, nrrd, parrec, raster, tiff
from medseg.io.formats.named.segment import Segment
from medseg.io.formats.stack import Stack


@dataclass(frozen=True)
class Format:
    """A row of the table: the functions that read and write files of some suffixes.

    A function may raise any exception for a damaged file; callers turn it into a `DataError` that names the file.

    Attributes:
        suffixes: how the names of its files end, in lower case, with the dot.
        read: returns what a file holds, with values as they are meant (scaling applied).
        write: writes a label map: `write(path, image, like)`, where `image` is one channel of whole numbers and `like`
            the scan whose geometry fields to copy if it is of the same format (None: no scan). medseg's own rows write
            through `medseg.core.files.atomic`, so that no half-written file is left behind; for others `register` does
            so, and makes it return the files. None if label maps are not written in these suffixes.
        read_mask: as `read`, for label maps: values as they are stored. None if `read` does that too; pictures with
            a palette differ.
        answer: suffix of the answer to a file of a format without `write`.
        parts: returns the files that an image consists of; None if it is always one.
        header_notes: returns what is odd in a header that can be read, in sentences; None if nothing is looked for.
        write_named: as `write`, with names and colours of values as a fourth argument, which the file then holds. None
            if the format has no place for them.
        names: returns the names that a file gives to its values; None if the format has no place for them.
        sides_known: whether its files can say which side of the patient is which; pictures cannot, although some say
            how large a pixel is.
        listed: returns whether a file in a folder is an image of its own; None if every one is. The second half of a
            pair is not, nor is a mesh in a format that also holds images.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path], Stack]
    write: Callable[[Path, Image, Path | None], Any] | None = None
    read_mask: Callable[[Path], Stack] | None = None
    answer: str = ".nii.gz"
    parts: Callable[[Path], list[Path]] | None = None
    header_notes: Callable[[Path], list[str]] | None = None
    listed: Callable[[Path], bool] | None = None
    sides_known: bool = True
    write_named: Callable[[Path, Image, Path | None, Sequence[Segment]], Any] | None = None
    names: Callable[[Path], list[Segment]] | None = None


def _never(path: Path) -> bool:
    return False


_ROWS = (
    Format(
        (".nii.gz", ".nii"),
        nifti.read,
        nifti.write,
        header_notes=nifti.header_notes,
        write_named=nifti.write,
        names=nifti.segments,
    ),
    Format((".hdr.gz", ".hdr"), nifti.read, parts=nifti.parts, header_notes=nifti.header_notes),
    Format((".img.gz", ".img"), nifti.read, parts=nifti.parts, header_notes=nifti.header_notes, listed=_never),
    Format((".mgz", ".mgh"), mgh.read, mgh.write),
    Format((".mnc",), minc.read),
    Format((".seg.nrrd", ".nrrd"), nrrd.read, nrrd.write, write_named=nrrd.write, names=nrrd.segments),
    Format((".nhdr",), nrrd.read, answer=".nrrd", parts=nrrd.parts, names=nrrd.segments),
    Format((".mha",), metaimage.read, metaimage.write),
    Format((".mhd",), metaimage.read, answer=".mha", parts=metaimage.parts),
    Format((".gipl.gz", ".gipl"), gipl.read, gipl.write),
    Format((".mrc",), itk.read_mrc),
    Format((".vtk",), itk.read_vtk, listed=itk.is_vtk_image),
    Format((".rec",), parrec.read, parts=parrec.parts),
    Format((".par",), parrec.read, parts=parrec.parts, listed=_never),  # FSL writes other text files of this name
    Format(
        (".ome.tiff", ".ome.tif", ".tiff", ".tif"),
        tiff.read,
        tiff.write,
        tiff.read_mask,
        parts=tiff.parts,
        sides_known=False,
    ),
    Format((".png", ".bmp"), raster.read, raster.write, raster.read_mask, sides_known=False),
    Format(
        (geojson.SUFFIX,),
        geojson.read,
        geojson.write,
        listed=geojson.written_here,
        sides_known=False,
        write_named=geojson.write,
        names=geojson.segments,
    ),
    Format((".gif", ".jpg", ".jpeg"), raster.read, read_mask=raster.read_mask, answer=".png", sides_known=False),
)

FORMATS: dict[str, Format] = {suffix: row for row in _ROWS for suffix in row.suffixes}
"""The format of each suffix."""


def register(file_format: Format) -> None:
    """Add a format to the table of this process, so that its files are found, read and answered like all others.

    Every process that is to know it has to call this, before it looks for files; nothing is recorded. The functions of
    the format that write get a path of the file's name in a temporary folder. What they write there, the file itself
    and others beside it, is then moved into the folder of the file, which is made if it is missing; after a kill, all
    of it or none. A header must name the files of its data without a folder.

    Args:
        file_format: the format. Its suffixes must be new; of `.extra.nii.gz` and `.nii.gz` the longer one counts.

    Raises:
        ValueError: a suffix does not start with a dot, is not in lower case, or already has a format; or label maps
            are not written in the suffix of the answer.
    """
    for suffix in file_format.suffixes:
        if not suffix.startswith(".") or suffix != suffix.lower():
            raise ValueError(f"the suffix {suffix!r} does not start with a dot, or is not in lower case")
        if suffix in FORMATS:
            raise ValueError(f"files that end in {suffix} already have a format")
    answer_format = file_format if file_format.write is not None else FORMATS.get(file_format.answer)
    if answer_format is None or answer_format.write is None:
        raise ValueError(f"label maps are not written as {file_format.answer}, the suffix of this format's answers")
    row = replace(
        file_format,
        write=_atomic(file_format.write),
        write_named=_atomic(file_format.write_named),
        read=_of_whole_files(file_format.read),
        read_mask=None if file_format.read_mask is None else _of_whole_files(file_format.read_mask),
    )
    FORMATS.update(dict.fromkeys(row.suffixes, row))


def _atomic(write: Callable[..., None] | None) -> Callable[..., list[Path]] | None:
    """Return a function that writes by another one, in a temporary folder first, and returns the files."""
    if write is None:
        return None

    def written(path: Path, *arguments: Any) -> list[Path]:
        with atomic_with_parts(path) as temporary:
            write(temporary, *arguments)
            parts = sorted(part for part in temporary.parent.rglob("*") if not part.is_dir() and part != temporary)
            names = [part.relative_to(temporary.parent) for part in parts]
        return [path, *(path.parent / name for name in names)]

    return written


def _of_whole_files(read: Callable[[Path], Stack]) -> Callable[[Path], Stack]:
    """Return a function that reads by another one, once the files that a killed writer left are in their place."""

    def read_whole(path: Path) -> Stack:
        finish_replacing_file(path)
        return read(path)

    return read_whole


def format_of(path: Path) -> Format:
    """Return the format of a file that is there.

    Raises:
        DataError: the file is missing, a folder, empty, or of an unknown format.
    """
    suffix = split_suffix(path)[1]
    try:
        if not path.exists():
            if path.is_symlink():
                raise DataError(
                    f"{path} is a link to {path.readlink()}, which is not there.",
                    "Fetch what it stands for, with `datalad get` or `git annex get` there, or take the link away.",
                    "no data",
                )
            raise DataError(
                f"There is no file {path}.", "Check the path, and that links and network drives are in place."
            )
        status = path.stat()
        if S_ISDIR(status.st_mode):
            hint = "Of a DICOM study, FOLDER#KEY names a series; `medseg series FOLDER` lists the keys."
            raise DataError(f"{path} is a folder; expected an image file.", hint)
        if not S_ISREG(status.st_mode):
            raise DataError(f"{path} is no regular file (a pipe, socket or device).", "Expected an image file.")
        if suffix not in FORMATS:
            refuse_unknown(path)
        if status.st_size == 0:
            raise DataError(
                f"{path} is empty (0 bytes).", "The copy or export was interrupted: do it again.", "truncated"
            )
    except (OSError, ValueError) as error:  # a name that the file system does not take
        raise DataError(f"{path} cannot be opened: {error}.", "Check the path and its permissions.") from None
    return FORMATS[suffix]


def says_sides(path: Path) -> bool:
    """Return whether a scan's format can say which side of the patient is which; a DICOM series always does."""
    return is_dicom(path) or format_of(path).sides_known


WEIGHT_MAP = "_weight_map"
"""Ending of the name, before the suffix, of the map of weights beside a label file: neither a scan nor a label."""


def is_image(path: Path) -> bool:
    """Return whether a file is an image which medseg reads, judged by its name; of a .vtk file also by its header.

    Hidden files (macOS `._` copies) are none, nor are weight maps (`WEIGHT_MAP`), and of a pair of header and data only
    one is.
    """
    stem, suffix = split_suffix(path)
    file_format = FORMATS.get(suffix)
    if file_format is None or stem.startswith(".") or stem.endswith(WEIGHT_MAP):
        return False
    return file_format.listed is None or file_format.listed(Path(path))


def split_suffix(path: Path) -> tuple[str, str]:
    """Return a file's name without suffix, and the suffix in lower case; `.nii.gz` counts as one.

    >>> split_suffix(Path("scans/Case.7.NII.gz"))
    ('Case.7', '.nii.gz')
    """
    path = Path(path)  # callers of the library may give text
    name = path.name
    dot = name.find(".")
    while dot >= 0 and name[dot:].lower() not in FORMATS:
        dot = name.find(".", dot + 1)
    suffix = name[dot:] if dot >= 0 else path.suffix
    return name[: len(name) - len(suffix)], suffix.lower()


def answer_suffix(path: Path) -> str:
    """Return the suffix of the answer to an input: its own, or that of a format in which label maps are written."""
    suffix = split_suffix(path)[1]
    file_format = FORMATS.get(suffix)
    if file_format is None:
        return ".nii.gz" if is_dicom(path) else suffix
    return suffix if file_format.write is not None else file_format.answer


def is_dicom(path: Path) -> bool:
    """Return whether a path names DICOM: a series in a folder or zip (`FOLDER#KEY`), or a file that begins as such."""
    return split_suffix(path)[1] not in FORMATS and means_dicom(Path(path))


def refuse_unknown(path: Path) -> NoReturn:
    """Raise the error for a file of an unknown format.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{path} is in a format that medseg does not know; it knows {', '.join(FORMATS)}.",
        "Convert it: volumes to .nii.gz, 2D images to .png. DICOM is given as the folder or zip of a study. "
        "From Python, a format of your own can be registered: docs/development/extend.md.",
    )
