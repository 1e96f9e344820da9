"""Read the headers of the series that labels belong to: what objects that refer to it need, and no pixels."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.installing import pip_install
from medseg.io.dicom.elements.dataset import read_dataset, without_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medseg.io.dicom.elements.series import Slice

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
"""Elements of type 1, without which no object can refer to an image (PS3.5 7.4.1)."""
_FRAME_OF_REFERENCE = "FrameOfReferenceUID"  # needed by whatever states positions
_OF_PLACE = (_FRAME_OF_REFERENCE, "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient")
_NEED_POSITIONS = {"rtstruct": "contours have coordinates in the patient", "report": "it has no depth, so no volumes"}
"""The forms that cannot be made of an image without a position, with the reason."""
_PRESENT = "PatientID"  # may be empty (type 2), but an image without it belongs to nobody
_MAY_BE_EMPTY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
"""Elements of type 2: they must be present, and may be empty (PS3.5 7.4.3)."""
_EQUAL_STEPS = 0.01
"""Largest difference of two steps, as a share of their mean, up to which SpacingBetweenSlices is written."""


@dataclass(frozen=True)
class Source:
    """Headers of the images that labels belong to, and where each slice lies.

    Attributes:
        images: a single-frame image for each slice, in the order of the labels' slices, or one multi-frame image that
            has only the frames in use, in that order.
        frames: number of each slice's frame in its file, from 1; None for single-frame images.
        positions: (slice, 3) centre of each slice's first pixel, LPS mm.
        orientation: direction cosines along a row, then along a column.
        spacing_yx_mm: distance of rows, then of columns.
        shape_zyx: slices, rows, columns.
        step_mm: distance of slices; None for one slice, and where the distances differ.
        has_positions: whether the images say where they lie. A radiograph does not: its position is 0, and an object
            of it has no positions either.
    """

    images: list[Dataset]
    frames: tuple[int, ...] | None
    positions: NDArray[np.float64]
    orientation: tuple[float, ...]
    spacing_yx_mm: tuple[float, float]
    shape_zyx: tuple[int, int, int]
    step_mm: float | None
    has_positions: bool = True

    @property
    def first(self) -> Dataset:
        """The header of the first image: what all of them share."""
        return self.images[0]

    def image_of(self, slice_number: int) -> Dataset:
        """Return the header of the image that a slice is, or is a frame of."""
        return self.images[0 if self.frames is not None else slice_number]

    def check_shape(self, labels: NDArray) -> None:
        """Check that a label map (z, y, x) has the shape of the series.

        Raises:
            DataError: it has another one.
        """
        if labels.shape != self.shape_zyx:
            raise DataError(f"Labels of shape (z, y, x) {labels.shape} do not fit a series of {self.shape_zyx}.")


def check_source(slices: Sequence[Slice], name: str, forms: Collection[str] = ()) -> None:
    """Refuse a series that no object can refer to, from the header of its first slice and the UIDs of all.

    A single image without a position, such as a radiograph, can have a segmentation object: that one may refer to the
    pixels of an image instead of stating positions (PS3.3 A.51.5, Derivation Image), and needs no frame of reference.

    Args:
        slices: the slices of the series, in the order of its volume.
        name: the series in messages; no identifier.
        forms: the objects that are to be made, of `write.SUFFIXES`.

    Raises:
        DataError: an identifier is missing or used twice, an object needs positions that the series lacks, or the extra
            `dicom` is not installed.
    """
    if not slices:
        raise DataError(f"{name} has no slices that labels could refer to.")
    if find_spec("highdicom") is None:
        raise DataError(
            "Writing DICOM needs the package highdicom, which is not installed.",
            f"{pip_install('dicom')} installs it; --write nifti works without it.",
        )
    with_positions = _has_positions(slices)
    for form, reason in _NEED_POSITIONS.items():
        if form in forms and not with_positions:
            raise DataError(
                f"{name} is an image that does not say where it lies in the patient; no {form} can be made of it: "
                f"{reason}.",
                "A segmentation object and a label map can: --write nifti,seg.",
            )
    _check_identifiers(read_dataset(slices[0].file), name, with_positions)
    _check_distinct([slice_.sop_instance_uid for slice_ in slices if slice_.frame is None], name)
    if slices[0].frame is not None and "PerFrameFunctionalGroupsSequence" not in read_dataset(slices[0].file):
        raise DataError(
            f"{name} is a multi-frame image that does not describe its frames one by one (nuclear medicine); no "
            "segmentation object is written of it.",
            "A label map as NIfTI needs no references.",
        )
    multi_frame = {slice_.file for slice_ in slices if slice_.frame is not None}
    if len(multi_frame) > 1 or (multi_frame and any(slice_.frame is None for slice_ in slices)):
        raise DataError(
            f"{name} is spread over {len(multi_frame)} multi-frame files; a segmentation object refers to one of them, "
            "or to single-frame images.",
            "A NIfTI label map can still be written: --write nifti.",
        )


def read_source(slices: Sequence[Slice], name: str) -> Source:
    """Read the headers of a series.

    Args:
        slices: the slices of the series, in the order of its volume.
        name: the series in messages; no identifier.

    Returns:
        The headers, with where each slice lies.

    Raises:
        DataError: as `check_source`, or a slice does not say where it lies.
    """
    check_source(slices, name)
    first = slices[0]
    if not _has_positions(slices):
        return _read_without_positions(first, name)
    if first.orientation is None or first.spacing_yx_mm is None or any(slice_.position is None for slice_ in slices):
        raise DataError(f"{name} does not say where its slices lie in the patient.")
    positions = np.array([slice_.position for slice_ in slices], dtype=np.float64)
    step = _step(positions, first.orientation)
    with without_warnings():
        if first.frame is None:
            images = [_prepare(read_dataset(slice_.file), name) for slice_ in slices]
            numbers = None
        else:
            numbers = tuple((slice_.frame or 0) + 1 for slice_ in slices)
            images = [_keep_frames(_prepare(read_dataset(first.file), name), numbers)]
        measures = _pixel_measures(first, step, name)
        for image in images:
            _set_geometry(image, first.orientation, measures)
    shape = (len(slices), first.rows, first.columns)
    return Source(images, numbers, positions, first.orientation, first.spacing_yx_mm, shape, step)


def _has_positions(slices: Sequence[Slice]) -> bool:
    """Return False for a single image that does not say where it lies in the patient."""
    return len(slices) > 1 or (slices[0].position is not None and slices[0].orientation is not None)


def _read_without_positions(image: Slice, name: str) -> Source:
    """Return the source of a radiograph's object, without elements of its header that give a position in space."""
    with without_warnings():
        header = _prepare(read_dataset(image.file), name, with_positions=False)
        for key in _OF_PLACE:
            header.pop(key, None)
        # Pixel measures may be left out where the image is referred to, and highdicom reads none without a thickness.
        if image.spacing_yx_mm is None or image.at_detector or image.thickness_mm is None:
            header.pop("PixelSpacing", None)
    shape = (1, image.rows, image.columns)
    spacing = image.spacing_yx_mm or (1.0, 1.0)
    return Source([header], None, np.zeros((1, 3)), (1, 0, 0, 0, 1, 0), spacing, shape, None, has_positions=False)


def _check_identifiers(image: Dataset, name: str, with_positions: bool = True) -> None:
    """Refuse an image without the identifiers that a reference to it consists of.

    Args:
        image: its header.
        name: the series in messages.
        with_positions: whether objects of it state positions, which need a frame of reference.
    """
    from pydicom.uid import UID

    needed = (*_NEEDED, _FRAME_OF_REFERENCE) if with_positions else _NEEDED
    with without_warnings():  # they would quote the values
        missing = [key for key in needed if not str(image.get(key) or "").strip()]
    missing += [_PRESENT] if _PRESENT not in image else []
    if missing:
        raise DataError(
            f"{name} lacks {', '.join(missing)}, without which no DICOM object can refer to it; medseg does not "
            "invent values.",
            "Use the series as the scanner or the archive sent it; a NIfTI label map can still be written (--write "
            "nifti).",
            "no identity",
        )
    if UID(str(image.SOPClassUID)).name == str(image.SOPClassUID):
        raise DataError(
            f"{name} is of a kind of image (SOP class) that the standard does not know; no DICOM object can refer to "
            "it."
        )


def _check_distinct(uids: Sequence[str], name: str) -> None:
    """Refuse images that share a SOPInstanceUID: a reference to one could mean the other, and so a wrong slice."""
    distinct = len({*uids})
    if distinct < len(uids):
        raise DataError(
            f"{name} has {len(uids)} slices and only {distinct} different SOPInstanceUIDs; a reference to a slice "
            "could mean another one.",
            "Use the series as the scanner or the archive sent it; a NIfTI label map can still be written (--write "
            "nifti).",
            "no identity",
        )


def _prepare(image: Dataset, name: str, with_positions: bool = True) -> Dataset:
    """Complete a header with the elements of type 2, and empty those whose values are not allowed."""
    _check_identifiers(image, name, with_positions)
    for key in _MAY_BE_EMPTY:
        if key not in image or not _is_valid(key, str(image[key].value or "")):
            setattr(image, key, None)
    return image


def _is_valid(key: str, value: str) -> bool:
    """Return whether an element may have a value; de-identified headers have words where dates are expected."""
    from pydicom.valuerep import DA, TM

    try:
        return bool(
            not value
            or (key.endswith("Date") and DA(value))
            or (key.endswith("Time") and TM(value))
            or (key == "PatientSex" and value in ("M", "F", "O"))
            or not key.endswith(("Date", "Time", "Sex"))
        )
    except ValueError:
        return False


def _keep_frames(image: Dataset, numbers: tuple[int, ...]) -> Dataset:
    """Keep these frames (from 1) of a multi-frame header, in this order.

    The items are copied: several volumes of one file are written from the same header.
    """
    groups = image.PerFrameFunctionalGroupsSequence
    image.PerFrameFunctionalGroupsSequence = [copy.deepcopy(groups[number - 1]) for number in numbers]
    image.NumberOfFrames = len(numbers)
    return image


def _pixel_measures(first: Slice, step: float | None, name: str) -> dict[str, Any]:
    """Return pixel spacing, thickness and distance of slices; the distance is that of the positions, not the file's."""
    thickness = first.thickness_mm if first.thickness_mm else step
    if thickness is None:
        raise DataError(f"{name} does not say how thick its slices are.", "A NIfTI label map can still be written.")
    measures = {"PixelSpacing": [_decimal(value) for value in first.spacing_yx_mm or ()], "SliceThickness": thickness}
    return measures if step is None else {**measures, "SpacingBetweenSlices": step}


def _set_geometry(image: Dataset, orientation: tuple[float, ...], measures: dict[str, Any]) -> None:
    """Write one orientation and one spacing for all slices, which agree within the reader's tolerance."""
    from pydicom.dataset import Dataset

    directions = [_decimal(value) for value in orientation]
    numbers = {key: value if isinstance(value, list) else _decimal(value) for key, value in measures.items()}
    if "PerFrameFunctionalGroupsSequence" not in image:
        image.pop("SpacingBetweenSlices", None)
        image.ImageOrientationPatient = directions
        for key, value in numbers.items():
            setattr(image, key, value)
        return
    plane, pixels = Dataset(), Dataset()
    plane.ImageOrientationPatient = directions
    for key, value in numbers.items():
        setattr(pixels, key, value)
    if not image.get("SharedFunctionalGroupsSequence"):
        image.SharedFunctionalGroupsSequence = [Dataset()]
    shared = image.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [pixels]


def _step(positions: NDArray[np.float64], orientation: tuple[float, ...]) -> float | None:
    """Return the distance of slices along their normal in mm; None for one slice, and where the distances differ."""
    if len(positions) < 2:
        return None
    lengths = np.abs(np.diff(positions, axis=0) @ np.cross(orientation[:3], orientation[3:]))
    mean = float(lengths.mean())
    return mean if mean > 0 and float(np.ptp(lengths)) <= _EQUAL_STEPS * mean else None


def _decimal(value: float) -> str:
    """Return a number as a decimal string (DS) of at most 16 characters (PS3.5 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
