"""Read the header of one DICOM file: its slices, or the object it is instead, or why it is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import read_dataset, without_warnings
from medseg.io.dicom.elements.files import SUFFIXES
from medseg.io.dicom.elements.kinds import DAMAGED, is_section, may_be_grey, why_no_slice
from medseg.io.dicom.elements.series import DicomObject, LeftOut, Slice
from medseg.io.dicom.listing.frames import FRAME_TAGS, slices_of_frames

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medseg.io.dicom.elements.files import File

_B_VALUES = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003))
"""Private elements of Siemens, GE and Philips that hold the b-value where DiffusionBValue is absent."""
_GE_B_OFFSET = 1_000_000_000
"""GE adds it to a b-value to say that the directions are stored elsewhere."""
_ACQUISITION_NUMBERS = {
    "b": "DiffusionBValue",
    "echo": "EchoNumbers",
    "echo time": "EchoTime",
    "inversion time": "InversionTime",
    "flip angle": "FlipAngle",
    "kilovolts": "KVP",
    "time position": "TemporalPositionIdentifier",
    "trigger": "TriggerTime",
    "acquisition": "AcquisitionNumber",
}
_ACQUISITION_TEXTS = {
    "kernel": "ConvolutionKernel",
    "sequence": "SequenceName",
    "acquired": "AcquisitionDateTime",
    "acquired at": "AcquisitionTime",
    "image type": "ImageType",
    "contrast": "ContrastBolusAgent",
}
_DETECTOR_SPACINGS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""What radiographs have where PixelSpacing is absent: the distance of pixels at the detector or on the film, which is
that in the patient times the magnification (PS3.3 10.7.1.3)."""
_DIRECTION = "DiffusionGradientOrientation"
HEADER_TAGS: tuple[Any, ...] = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "SliceThickness", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", *_DETECTOR_SPACINGS,
    "BitsAllocated", "RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "PatientID", "ContentTime",
    "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence", "CurrentRequestedProcedureEvidenceSequence",
    *_ACQUISITION_NUMBERS.values(), *_ACQUISITION_TEXTS.values(), _DIRECTION, *_B_VALUES, *FRAME_TAGS,
)  # fmt: skip
"""The elements that are read of each file, and no others: headers are read by the thousand."""


@dataclass(frozen=True)
class SeriesHeader:
    """The elements that all headers of a series share.

    Attributes:
        uid: SeriesInstanceUID; an identifier, never shown.
        study_uid: StudyInstanceUID, likewise.
        number: SeriesNumber.
        description: SeriesDescription.
        modality: CT, MR, PT ...
        patient: PatientID; an identifier, only compared.
    """

    uid: str
    study_uid: str
    number: int | None
    description: str
    modality: str
    patient: str


@dataclass(frozen=True)
class Header:
    """The contribution of a file to a listing.

    Attributes:
        slices: its image planes, if it is an image that can be part of a volume.
        series: what it says about its series; None if it has no slices.
        object: the object that it is instead of an image.
        left_out: why it is in no series.
    """

    slices: tuple[Slice, ...] = ()
    series: SeriesHeader | None = None
    object: DicomObject | None = None
    left_out: LeftOut | None = None


def read_header(file: File) -> Header:
    """Read the header of a file, and no pixels. What cannot be read is left out, with the reason.

    Returns:
        The slices or the object in the file, or why it is left out.
    """
    try:
        dataset = read_dataset(file, tags=HEADER_TAGS)
        with without_warnings():
            return _header(file, dataset)
    except DataError as error:
        reason = "no DICOM" if error.kind == "no DICOM" else f"{DAMAGED}: {error.message}"
        if reason == "no DICOM" and file.name.lower().endswith(SUFFIXES):
            reason = f"{DAMAGED}: no DICOM in spite of its name, as if it was cut off"
    except Exception:  # values of damaged files are converted when they are looked at
        reason = f"{DAMAGED}: a value in its header cannot be read"
    return Header(left_out=LeftOut(file.name, reason))


def _header(file: File, dataset: Dataset) -> Header:
    """Return the header of a file as its series and slices, or as an object that is not an image."""
    reason = why_no_slice(dataset)
    if reason is not None:
        uid = values.text(dataset, "SeriesInstanceUID")
        return Header(object=_object(file, dataset), left_out=LeftOut(file.name, reason, uid))
    series = SeriesHeader(
        uid=values.text(dataset, "SeriesInstanceUID"),
        study_uid=values.text(dataset, "StudyInstanceUID"),
        number=values.integer(dataset, "SeriesNumber"),
        description=values.printable(dataset, "SeriesDescription"),
        modality=values.printable(dataset, "Modality"),
        patient=values.text(dataset, "PatientID"),
    )
    frames = values.integer(dataset, "NumberOfFrames") or 1
    slice_ = _slice(file, dataset)
    if frames > 1 or "PerFrameFunctionalGroupsSequence" in dataset:
        return Header(tuple(slices_of_frames(dataset, slice_, frames)), series)
    return Header((slice_,), series)


def _slice(file: File, dataset: Dataset) -> Slice:
    """Return the file as a single plane; what functional groups state replaces it in `slices_of_frames`."""
    section = is_section(dataset)
    in_patient = values.numbers(dataset, "PixelSpacing", 2)
    of_detector = (None if section else values.numbers(dataset, keyword, 2) for keyword in _DETECTOR_SPACINGS)
    spacing = in_patient or next(
        (spacing_yx for spacing_yx in of_detector if spacing_yx is not None and min(spacing_yx) > 0), None
    )
    meta = getattr(dataset, "file_meta", None)
    slope, intercept = values.number(dataset, "RescaleSlope"), values.number(dataset, "RescaleIntercept")
    stated_rescale = {
        "RescaleSlope": slope is not None,
        "RescaleIntercept": intercept is not None,
        "ModalityLUTSequence": bool(values.items(dataset, "ModalityLUTSequence")),
    }
    return Slice(
        file=file,
        frame=None,
        sop_instance_uid=values.text(dataset, "SOPInstanceUID"),
        sop_class_uid=values.text(dataset, "SOPClassUID"),
        instance_number=values.integer(dataset, "InstanceNumber"),
        rows=values.integer(dataset, "Rows") or 0,
        columns=values.integer(dataset, "Columns") or 0,
        position=values.point(values.numbers(dataset, "ImagePositionPatient", 3)),
        orientation=values.numbers(dataset, "ImageOrientationPatient", 6),
        spacing_yx_mm=None if spacing is None else (spacing[0], spacing[1]),
        thickness_mm=values.number(dataset, "SliceThickness"),
        rescale=(1.0 if slope is None else slope, intercept or 0.0),
        transfer_syntax=values.text(meta, "TransferSyntaxUID") if meta is not None else "",
        acquisition=_acquisition(dataset),
        frame_of_reference=values.text(dataset, "FrameOfReferenceUID"),
        is_section=section,
        at_detector=spacing is not None and in_patient is None,
        has_channels=may_be_grey(dataset),
        photometric=values.text(dataset, "PhotometricInterpretation").upper(),
        unit=(values.text(dataset, "Units") or values.text(dataset, "RescaleType")).upper(),
        rescale_elements=frozenset(keyword for keyword, stated in stated_rescale.items() if stated),
    )


def _acquisition(dataset: Dataset) -> dict[str, Any]:
    """Return the acquisition attributes of a single-frame image; those that it does not state are absent."""
    acquisition: dict[str, Any] = {
        name: values.number(dataset, keyword) for name, keyword in _ACQUISITION_NUMBERS.items()
    }
    acquisition |= {name: values.text(dataset, keyword) or None for name, keyword in _ACQUISITION_TEXTS.items()}
    acquisition["direction"] = values.numbers(dataset, _DIRECTION, 3)
    if acquisition["b"] is None:
        acquisition["b"] = _private_b_value(dataset)
    if not any(acquisition[name] for name in ("acquisition", "acquired", "acquired at")):
        # the time of the image, not of the scan: taken only where nothing tells of the scan
        acquisition["content"] = values.text(dataset, "ContentTime") or None
    acquisition["thickness"] = values.number(dataset, "SliceThickness")
    return {name: value for name, value in acquisition.items() if value is not None}


def _private_b_value(dataset: Dataset) -> float | None:
    """Return the b-value as vendors stored it before there was a standard element for it."""
    for tag in _B_VALUES:
        if tag not in dataset:
            continue
        value = dataset[tag].value
        if isinstance(value, bytes):
            value = value.decode("ascii", "replace").split("\\")[0]
        elif not isinstance(value, (str, int, float)):
            value = value[0] if len(value) else None
        number = values.finite(value)
        if number is not None and number >= 0:
            return number % _GE_B_OFFSET
    return None


def _object(file: File, dataset: Dataset) -> DicomObject:
    """Return an object that is not an image, with the series that it refers to.

    Segmentations and reports name them in ReferencedSeriesSequence (PS3.3 C.12.4), structure sets in the frame of
    reference that their contours lie in (PS3.3 C.8.8.5).
    """
    referenced = []
    for evidence in (dataset, *values.items(dataset, "CurrentRequestedProcedureEvidenceSequence")):
        series = values.items(evidence, "ReferencedSeriesSequence")
        referenced += [values.text(item, "SeriesInstanceUID") for item in series]
    for frame in values.items(dataset, "ReferencedFrameOfReferenceSequence"):
        for study in values.items(frame, "RTReferencedStudySequence"):
            series = values.items(study, "RTReferencedSeriesSequence")
            referenced += [values.text(item, "SeriesInstanceUID") for item in series]
    return DicomObject(
        file=file,
        sop_class_uid=values.text(dataset, "SOPClassUID"),
        modality=values.text(dataset, "Modality"),
        referenced_series=tuple(dict.fromkeys(uid for uid in referenced if uid)),
        description=values.printable(dataset, "SeriesDescription"),
    )
