"""Check that an RTSTRUCT or SEG lies in the coordinates of a series: that both name one frame of reference.

Positions in two frames of reference have no known relation (PS3.3 C.7.4.1.1.1), however alike the numbers look. A
radiograph has no positions: a SEG of it has none either, and names the image whose pixels are meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import read_dataset, without_warnings
from medseg.io.dicom.elements.kinds import LABEL_CLASSES, SEGMENTATION_CLASSES
from medseg.io.dicom.elements.paths import file_at
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.labels.segmentation import referenced_images, states_positions
from medseg.io.dicom.listing.headers import read_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TAGS = ("SOPClassUID", "FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence",
         "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "TotalPixelMatrixRows")  # fmt: skip


def check_frame_of_reference(label: Path, series: Series) -> None:
    """Refuse a label whose coordinates are not those of a series.

    A label that states no frame of reference, or that names the series itself among those it was drawn on, is accepted.
    A SEG without positions must name an image of the series, if it names any; one with positions, or contours, cannot
    be drawn on an image that has no position.

    Args:
        label: an RTSTRUCT or SEG; other files are accepted.
        series: the scan.

    Raises:
        DataError: the frames of reference differ, the label is of another image, or it cannot be read.
    """
    file = file_at(label)
    of_series = {slice_.frame_of_reference for slice_ in series.slices} - {""}
    if file is None:
        return
    with without_warnings():
        dataset = read_dataset(file, tags=_TAGS)
        if values.text(dataset, "SOPClassUID") not in LABEL_CLASSES:
            return
        of_label = _frames_of(dataset)
    if not _check_image(dataset, file.name, series) or not of_series:
        return
    if of_label <= of_series:
        return
    object_ = read_header(file).object
    if object_ is not None and series.uid in object_.referenced_series and len(of_label) == 1:
        return
    what = "some of it lies" if of_label & of_series else "it lies"
    raise DataError(
        f"{file.name} was not drawn on {series.title}: {what} in another frame of reference, so that its coordinates "
        "are not those of the scan.",
        "Take the series that it was drawn on, or bring it to this one by a registration.",
        "label grid",
    )


def _check_image(dataset: Dataset, name: str, series: Series) -> bool:
    """Check that a label and a series both have positions, or that they are of one image; return whether they have.

    Args:
        dataset: the label's header.
        name: its name.
        series: the scan.

    Raises:
        DataError: one of them has no positions and the other has, or the label is of another image.
    """
    first = series.slices[0]
    is_segmentation = values.text(dataset, "SOPClassUID") in SEGMENTATION_CLASSES
    with_positions = not is_segmentation or states_positions(dataset)
    if with_positions and first.position is not None:
        return True
    if with_positions:
        raise DataError(
            f"{name} was not drawn on {series.title}: it lies at positions in the patient, and that image has none.",
            "Take the series that it was drawn on.",
            "label grid",
        )
    images = _only_image(dataset)
    if images and not images & {slice_.sop_instance_uid for slice_ in series.slices}:
        raise DataError(
            f"{name} was not drawn on {series.title}: it names another image.",
            "Take the image that it was drawn on.",
            "label grid",
        )
    return False


def _only_image(dataset: Dataset) -> set[str]:
    """Return the SOPInstanceUID of the image that a SEG without positions was drawn on; empty for other labels."""
    if values.text(dataset, "SOPClassUID") not in SEGMENTATION_CLASSES or states_positions(dataset):
        return set()
    return {uid for uid, _ in referenced_images(dataset)}


def check_common_frame_of_reference(reference: Path, prediction: Path) -> None:
    """Refuse two label objects that state frames of reference, or images without positions, and have none in common.

    Args:
        reference: an RTSTRUCT or SEG.
        prediction: the one that it is compared with.

    Raises:
        DataError: they have none in common, or one of them cannot be read.
    """
    files = [file for path in (reference, prediction) if (file := file_at(path)) is not None]
    with without_warnings():
        datasets = [read_dataset(file, tags=_TAGS) for file in files]
        frames = [_frames_of(dataset) for dataset in datasets]
        images = [_only_image(dataset) for dataset in datasets]
    if all(images) and not set.intersection(*images):
        raise DataError(
            f"{reference.name} and {prediction.name} were drawn on two different images.",
            "Compare what was drawn on one image, or give the folder of the studies.",
            "label grid",
        )
    if all(frames) and not set.intersection(*frames):
        raise DataError(
            f"{reference.name} and {prediction.name} lie in different frames of reference: their coordinates are not "
            "the same.",
            "Compare what was drawn on one series, or give the folder of the studies.",
            "label grid",
        )


def _frames_of(dataset: Dataset) -> set[str]:
    """Return the frames of reference of the structures (PS3.3 C.8.8.5), else of the whole object."""
    rois = values.items(dataset, "StructureSetROISequence")
    of_rois = {values.text(roi, "ReferencedFrameOfReferenceUID") for roi in rois}
    referenced = values.items(dataset, "ReferencedFrameOfReferenceSequence")
    listed = {values.text(item, "FrameOfReferenceUID") for item in referenced}
    of_object = {values.text(dataset, "FrameOfReferenceUID")}
    return (of_rois - {""}) or (listed - {""}) or (of_object - {""})
