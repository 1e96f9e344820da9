"""RTSTRUCT and DICOM SEG as label maps: names of their structures to values, drawn on the grid of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from medseg.core.errors import DataError, MedsegError
from medseg.core.image import Image
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import need_pydicom, quiet, read_dataset
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.kinds import SEGMENTATION, STRUCTURE_SET
from medseg.io.dicom.elements.paths import file_of, is_dicom_file, path_of
from medseg.io.dicom.labels import rtstruct, segmentation
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.stacks import grid_of, options_of
from medseg.io.values.overlay import Overlay
from medseg.plans.sections import Reading

LABEL_CLASSES = (*SEGMENTATION, STRUCTURE_SET)
"""SOP classes of objects that are label maps."""

_MOST_SHOWN = 8


def is_label_object(path: Path) -> bool:
    """Whether a file is an RTSTRUCT or a SEG."""
    if not is_dicom_file(path):
        return False
    try:
        return values.text(read_dataset(File(path), tags=("SOPClassUID",)), "SOPClassUID") in LABEL_CLASSES
    except DataError:
        return False


def names_in(file: File) -> list[str]:
    """The names of the structures of an RTSTRUCT or SEG, in the order of the file; pixels are not read.

    Raises:
        DataError: it cannot be read, or is neither.
    """
    need_pydicom()
    with quiet(), _telling(file):
        return [*_names(read_dataset(file), file.name).values()]


def drawn_labels(file: File, reading: Reading, grid: Image | None) -> tuple[Overlay, Image, dict[int, str], list[str]]:
    """The structures of an RTSTRUCT or SEG, drawn on a grid; where they overlap is still open.

    Args:
        file: the object.
        reading: which structures are meant, and what a fraction counts as (`threshold`).
        grid: of the scan; a SEG whose frames lie elsewhere comes on its own grid.

    Returns:
        The drawing, its grid, {value: name} in the order of `reading.segments`, and remarks.

    Raises:
        DataError: it cannot be read, or does not lie on the grid.
    """
    need_pydicom()
    with quiet(), _telling(file):
        found = read_dataset(file, pixels=True)
        names = _names(found, file.name)
        meant = meant_values(names, reading.segments)
        notes = []
        if names and not meant:
            shown = ", ".join([*names.values()][:_MOST_SHOWN]) + ", ..." * (len(names) > _MOST_SHOWN)
            notes.append(f"{file.name} holds none of {', '.join(reading.segments)}; it holds {shown}")
        if values.text(found, "SOPClassUID") == STRUCTURE_SET:
            if grid is None:
                raise DataError(
                    f"{file.name} is an RTSTRUCT, which has no voxels of its own, and its scan is not known.",
                    "Give it together with the scan that it was drawn on: in one folder for each case.",
                )
            overlay, remarks = rtstruct.draw(rtstruct.rois_in(found, meant), meant, grid, file.name)
        else:
            fraction = segmentation.FRACTION if reading.threshold is None else reading.threshold
            overlay, grid, remarks = segmentation.draw(found, meant, grid, file.name, fraction)
    called: dict[int, str] = {}
    for name, value in (reading.segments or {names[number]: value for number, value in meant.items()}).items():
        called.setdefault(value, name)
    return overlay, grid, called, [*notes, *remarks]


def read_label_object(path: Path, reading: Reading, grid: Image | None) -> Image:
    """An RTSTRUCT or SEG as a label map (1, z, y, x), each structure by the value that `reading.segments` gives it.

    Without a grid, an RTSTRUCT is drawn on that of the series that it refers to, which is looked for beside it.

    Raises:
        DataError: as `drawn_labels`, or structures overlap and `reading.overlaps` does not say what that means.
    """
    need_pydicom()
    file = file_of(path)
    if file is None:
        raise DataError(f"There is no file {path}.", "Expected an RTSTRUCT or a DICOM SEG.")
    overlay, lies, names, notes = drawn_labels(file, reading, grid or grid_beside(file, reading))
    array = overlay.values(reading.overlaps, names, file.name)
    return Image(array[np.newaxis], lies.affine, lies.spacing_known, tuple(notes))


def grid_beside(file: File, reading: Reading) -> Image | None:
    """The grid of the series that an RTSTRUCT refers to, without voxels; None for others, and where it is not there.

    Raises:
        DataError: that series is no volume.
    """
    found = read_dataset(file, tags=("SOPClassUID",))
    if values.text(found, "SOPClassUID") != STRUCTURE_SET:
        return None
    listing = find_series(file.path if file.member is not None else file.path.parent)
    named = path_of(file).absolute()
    wanted = next((one.referenced_series for one in listing.objects if path_of(one.file) == named), ())
    series = [one for one in listing.series if one.uid in wanted]
    if len(series) != 1:  # of several echoes or b-values, which one is open
        return None
    return grid_of(series[0], options_of(reading))


def meant_values(names: Mapping[int, str], segments: Mapping[str, int]) -> dict[int, int]:
    """{number in the file: value} of the structures that are meant; all by their number where nothing says which.

    A name is looked up as it is, then in small letters, then as patterns in their order.
    """
    if not segments:
        own = [*names] if 0 not in names else range(1, len(names) + 1)  # 0 is the background
        return dict(zip(names, own, strict=True))
    small = {pattern.lower(): value for pattern, value in segments.items()}
    found = {}
    for number, name in names.items():
        value = segments.get(name, small.get(name.lower()))
        if value is None:
            value = next((value for pattern, value in small.items() if fnmatchcase(name.lower(), pattern)), None)
        if value is not None:
            found[number] = value
    return found


@contextmanager
def _telling(file: File) -> Iterator[None]:
    """What damaged values end in as an error that names the file, and none of the values: they may be a patient's."""
    try:
        yield
    except MedsegError:
        raise
    except MemoryError:
        raise DataError(f"{file.name} needs more memory than there is.", "Close other programs.") from None
    except Exception as error:  # values are converted when they are looked at, and raise a dozen unrelated types
        raise DataError(
            f"{file.name} is damaged: a value in it cannot be read ({type(error).__name__}).", "Export it again."
        ) from None


def _names(found: Any, source: str) -> dict[int, str]:
    sop_class = values.text(found, "SOPClassUID")
    if sop_class not in LABEL_CLASSES:
        raise DataError(
            f"{source} is a DICOM object, but neither a segmentation nor an RTSTRUCT: it is no label map.",
            "Give one of these, or the label map in another format.",
        )
    return rtstruct.names_in(found) if sop_class == STRUCTURE_SET else segmentation.names_in(found)
