"""Whether an RTSTRUCT or SEG speaks of the coordinates that a series lies in: the frame of reference of both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import quiet, read_dataset
from medseg.io.dicom.elements.paths import file_of
from medseg.io.dicom.listing.headers import read_header
from medseg.io.dicom.listing.series import Series

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TAGS = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence")


def check_frame_of_reference(label: Path, series: Series) -> None:
    """Refuse a label whose coordinates are not those of a series: nothing says where it lies on its slices.

    A label that says nothing, or that names the series itself among those it was drawn on, is taken.

    Raises:
        DataError: the frames of reference differ, or the label cannot be read.
    """
    file = file_of(label)
    own = {one.frame_of_reference for one in series.slices} - {""}
    if file is None or not own:
        return
    with quiet():
        said = _frames_of(read_dataset(file, tags=_TAGS))
    if said <= own:
        return
    about = read_header(file).object
    if about is not None and series.uid in about.referenced_series and len(said) == 1:
        return
    some = "some of it lies" if said & own else "it lies"
    raise DataError(
        f"{file.name} was not drawn on {series.title}: {some} in another frame of reference, so that its coordinates "
        "are not those of the scan.",
        "Take the series that it was drawn on, or bring it to this one by a registration.",
        "label grid",
    )


def check_same_frame(one: Path, other: Path) -> None:
    """Refuse two labels that say that they have no frame of reference in common.

    Raises:
        DataError: they have none, or one of them cannot be read.
    """
    files = [file for path in (one, other) if (file := file_of(path)) is not None]
    with quiet():
        said = [_frames_of(read_dataset(file, tags=_TAGS)) for file in files]
    if all(said) and not set.intersection(*said):
        raise DataError(
            f"{one.name} and {other.name} lie in different frames of reference: their coordinates are not the same.",
            "Compare what was drawn on one series, or give the folder of the studies.",
            "label grid",
        )


def _frames_of(found: Dataset) -> set[str]:
    """Frames of reference of the structures, else of the whole object."""
    each = {values.text(roi, "ReferencedFrameOfReferenceUID") for roi in values.items(found, "StructureSetROISequence")}
    listed = {
        values.text(one, "FrameOfReferenceUID") for one in values.items(found, "ReferencedFrameOfReferenceSequence")
    }
    whole = {values.text(found, "FrameOfReferenceUID")}
    return (each - {""}) or (listed - {""}) or (whole - {""})
