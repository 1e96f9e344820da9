"""The series that labels belong to, as far as objects that refer to it need it: identity and geometry, no pixels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.io.dicom.elements.dataset import read_dataset, without_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medseg.io.dicom.elements.series import Slice

_NEEDED = (
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID",
)  # fmt: skip
_PRESENT = "PatientID"  # may be empty (type 2), but an image without it belongs to nobody
_MAY_BE_EMPTY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
_EQUAL_STEPS = 0.01
"""Largest difference of two steps, as a share of their mean, up to which a distance of slices is written."""


@dataclass(frozen=True)
class Source:
    """Headers of the images that labels belong to, and where each slice lies.

    Attributes:
        images: one single-frame image a slice, in the order of the labels' slices, or one multi-frame image that has
            only the frames in use, in that order.
        frames: number of each slice's frame in its file, from 1; None for single-frame images.
        positions: (slice, 3) centre of each slice's first pixel, LPS mm.
        orientation: direction cosines along a row, then along a column.
        spacing_yx: distance of rows, then of columns, in mm.
        shape_zyx: slices, rows, columns.
        step_mm: distance of slices, where it is one.
    """

    images: list[Dataset]
    frames: tuple[int, ...] | None
    positions: NDArray[np.float64]
    orientation: tuple[float, ...]
    spacing_yx: tuple[float, float]
    shape_zyx: tuple[int, int, int]
    step_mm: float | None

    @property
    def first(self) -> Dataset:
        """The header of the first image: what all of them share."""
        return self.images[0]

    def image_of(self, slice_number: int) -> Dataset:
        """The header of the image that a slice is, or is a frame of."""
        return self.images[0 if self.frames is not None else slice_number]


def check_source(slices: Sequence[Slice], name: str) -> None:
    """Refuse a series that no object can refer to, by the header of its first slice and the UIDs of all.

    Args:
        slices: of the series, in the order of its volume.
        name: what messages call the series; no identifier.

    Raises:
        DataError: with what is missing, or the extra `dicom` is not installed.
    """
    if not slices:
        raise DataError(f"{name} has no slices that labels could refer to.")
    if find_spec("highdicom") is None:
        raise DataError(
            "Writing DICOM needs the package highdicom, which is not installed.",
            "pip install 'medseg[dicom]' installs it; --write nifti does without.",
        )
    _check(read_dataset(slices[0].file), name)
    _check_distinct([one.sop_instance_uid for one in slices if one.frame is None], name)
    several = {one.file for one in slices if one.frame is not None}
    if len(several) > 1 or (several and any(one.frame is None for one in slices)):
        raise DataError(
            f"{name} is spread over {len(several)} multi-frame files; a segmentation object refers to one of them, or "
            "to single-frame images.",
            "A label map as NIfTI needs no references.",
        )


def read_source(slices: Sequence[Slice], name: str) -> Source:
    """Read the headers of a series.

    Raises:
        DataError: as `check_source`, or a slice does not say where it lies.
    """
    check_source(slices, name)
    first = slices[0]
    if first.orientation is None or first.spacing_yx_mm is None or any(one.position is None for one in slices):
        raise DataError(f"{name} does not say where its slices lie in the patient.")
    positions = np.array([one.position for one in slices], dtype=np.float64)
    step = _step(positions, first.orientation)
    with without_warnings():
        if first.frame is None:
            images = [_prepared(read_dataset(one.file), name) for one in slices]
            numbers = None
        else:
            numbers = tuple((one.frame or 0) + 1 for one in slices)
            images = [_frames_in_use(_prepared(read_dataset(first.file), name), numbers)]
        measures = _measures(first, step, name)
        for image in images:
            _set_geometry(image, first.orientation, measures)
    shape = (len(slices), first.rows, first.columns)
    return Source(images, numbers, positions, first.orientation, first.spacing_yx_mm, shape, step)


def _check(image: Dataset, name: str) -> None:
    from pydicom.uid import UID

    with without_warnings():  # warnings would quote them
        missing = [key for key in _NEEDED if not str(image.get(key) or "").strip()]
    missing += [_PRESENT] if _PRESENT not in image else []
    if missing:
        raise DataError(
            f"{name} lacks {', '.join(missing)}, without which no DICOM object can refer to it; nothing is made up.",
            "Take the series as the scanner or the archive sent it; a label map as NIfTI needs none of this.",
            "no identity",
        )
    if UID(str(image.SOPClassUID)).name == str(image.SOPClassUID):
        raise DataError(
            f"{name} is of a kind of image (SOP class) that the standard does not know; nothing can refer to it."
        )


def _check_distinct(uids: Sequence[str], name: str) -> None:
    """Refuse images that share an identifier: a reference could mean either, and so a wrong slice."""
    distinct = len({*uids})
    if distinct < len(uids):
        raise DataError(
            f"{name} has {len(uids)} slices and only {distinct} different SOPInstanceUIDs; a reference to a slice "
            "could mean another one.",
            "Take the series as the scanner or the archive sent it; a label map as NIfTI needs none of this.",
            "no identity",
        )


def _prepared(image: Dataset, name: str) -> Dataset:
    """The header with the elements that must be present and may be empty; values that no such element may have go."""
    _check(image, name)
    for key in _MAY_BE_EMPTY:
        if key not in image or not _valid(key, str(image[key].value or "")):
            setattr(image, key, None)
    return image


def _valid(key: str, value: str) -> bool:
    """Whether an element may have a value; de-identified headers have words where dates are expected."""
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


def _frames_in_use(image: Dataset, numbers: tuple[int, ...]) -> Dataset:
    """A multi-frame header with these frames (from 1) only, in this order."""
    groups = image.PerFrameFunctionalGroupsSequence
    image.PerFrameFunctionalGroupsSequence = [copy.deepcopy(groups[number - 1]) for number in numbers]
    image.NumberOfFrames = len(numbers)
    return image


def _measures(first: Slice, step: float | None, name: str) -> dict[str, Any]:
    """Pixel spacing, thickness and distance of slices; what the file says of the distance is not believed."""
    thickness = first.thickness_mm if first.thickness_mm else step
    if thickness is None:
        raise DataError(f"{name} does not say how thick its slices are.", "A label map as NIfTI does not need to know.")
    found = {"PixelSpacing": [_decimal(value) for value in first.spacing_yx_mm or ()], "SliceThickness": thickness}
    return found if step is None else {**found, "SpacingBetweenSlices": step}


def _set_geometry(image: Dataset, orientation: tuple[float, ...], measures: dict[str, Any]) -> None:
    """One orientation and one spacing for all slices, which agree within the reader's tolerance."""
    from pydicom.dataset import Dataset

    directions = [_decimal(value) for value in orientation]
    numbers = {key: value if isinstance(value, list) else _decimal(value) for key, value in measures.items()}
    if "PerFrameFunctionalGroupsSequence" not in image:
        image.pop("SpacingBetweenSlices", None)
        image.ImageOrientationPatient = directions
        for key, value in numbers.items():
            setattr(image, key, value)
        return
    turned, spaced = Dataset(), Dataset()
    turned.ImageOrientationPatient = directions
    for key, value in numbers.items():
        setattr(spaced, key, value)
    if not image.get("SharedFunctionalGroupsSequence"):
        image.SharedFunctionalGroupsSequence = [Dataset()]
    shared = image.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turned], [spaced]


def _step(positions: NDArray[np.float64], orientation: tuple[float, ...]) -> float | None:
    """The distance of slices along their normal in mm; None for one slice, and where the distances differ."""
    if len(positions) < 2:
        return None
    lengths = np.abs(np.diff(positions, axis=0) @ np.cross(orientation[:3], orientation[3:]))
    mean = float(lengths.mean())
    return mean if mean > 0 and float(np.ptp(lengths)) <= _EQUAL_STEPS * mean else None


def _decimal(value: float) -> str:
    """A number as DICOM's decimal string, at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
