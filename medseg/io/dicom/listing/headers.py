"""The header of one DICOM file: its slices, or the object it is instead, or why it is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.dataset import quiet, read_dataset
from medseg.io.dicom.elements.kinds import DAMAGED, SUFFIXES, left_out_because
from medseg.io.dicom.listing.facts import FACT_TAGS, facts_of
from medseg.io.dicom.listing.frames import FRAME_TAGS, slices_of_frames
from medseg.io.dicom.listing.series import DicomObject, LeftOut, Slice

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medseg.io.dicom.elements.files import File

_TAGS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "SliceThickness", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
    "BitsAllocated", "RescaleSlope", "RescaleIntercept", "PatientID",
    "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence", "CurrentRequestedProcedureEvidenceSequence",
)  # fmt: skip
TAGS: tuple[Any, ...] = (*_TAGS, *FACT_TAGS, *FRAME_TAGS)


@dataclass(frozen=True)
class Header:
    """What a file contributes to a listing.

    Attributes:
        slices: its image planes, if it is an image that can be part of a volume.
        series: UIDs of study and series, number, description and modality, by those names.
        patient: PatientID, an identifier: only to be compared.
        object: what it is where it is no image.
        left_out: why it is in no series.
    """

    slices: tuple[Slice, ...] = ()
    series: tuple[tuple[str, Any], ...] = ()
    patient: str = ""
    object: DicomObject | None = None
    left_out: LeftOut | None = None


def read_header(file: File) -> Header:
    """Read the header of a file, and no pixels."""
    try:
        found = read_dataset(file, tags=TAGS)
        with quiet():
            return _header(file, found)
    except DataError as error:
        why = "no DICOM" if error.kind == "no DICOM" else f"{DAMAGED}: {error.message}"
        if why == "no DICOM" and file.name.lower().endswith(SUFFIXES):
            why = f"{DAMAGED}: no DICOM in spite of its name, as if it was cut off"
        return Header(left_out=LeftOut(file.name, why))
    except Exception:  # values of damaged files are converted when they are looked at
        return Header(left_out=LeftOut(file.name, f"{DAMAGED}: a value in its header cannot be read"))


def _header(file: File, found: Dataset) -> Header:
    why = left_out_because(found)
    if why is not None:
        uid = values.text(found, "SeriesInstanceUID")
        return Header(object=_object(file, found), left_out=LeftOut(file.name, why, uid))
    series = (
        ("uid", values.text(found, "SeriesInstanceUID")),
        ("study_uid", values.text(found, "StudyInstanceUID")),
        ("number", values.whole(found, "SeriesNumber")),
        ("description", values.printable(found, "SeriesDescription")),
        ("modality", values.printable(found, "Modality")),
    )
    frames = values.whole(found, "NumberOfFrames") or 1
    multi = frames > 1 or "PerFrameFunctionalGroupsSequence" in found
    one = _slice(file, found)
    slices = tuple(slices_of_frames(found, one, frames)) if multi else (one,)
    return Header(slices, series, values.text(found, "PatientID"))


def _slice(file: File, found: Dataset) -> Slice:
    """The file as a single plane; what functional groups say comes on top of it."""
    spacing = values.numbers(found, "PixelSpacing", 2)
    meta = getattr(found, "file_meta", None)
    slope, intercept = values.number(found, "RescaleSlope"), values.number(found, "RescaleIntercept")
    return Slice(
        file=file,
        frame=None,
        sop_uid=values.text(found, "SOPInstanceUID"),
        sop_class=values.text(found, "SOPClassUID"),
        instance_number=values.whole(found, "InstanceNumber"),
        rows=values.whole(found, "Rows") or 0,
        columns=values.whole(found, "Columns") or 0,
        position=values.vector(values.numbers(found, "ImagePositionPatient", 3)),
        orientation=values.numbers(found, "ImageOrientationPatient", 6),
        spacing_yx=None if spacing is None else (spacing[0], spacing[1]),
        thickness=values.number(found, "SliceThickness"),
        rescale=(1.0 if slope is None else slope, intercept or 0.0),
        transfer_syntax=values.text(meta, "TransferSyntaxUID") if meta is not None else "",
        facts=facts_of(found),
        frame_of_reference=values.text(found, "FrameOfReferenceUID"),
    )


def _object(file: File, found: Dataset) -> DicomObject:
    referenced = []
    for place in (found, *values.items(found, "CurrentRequestedProcedureEvidenceSequence")):
        referenced += [values.text(one, "SeriesInstanceUID") for one in values.items(place, "ReferencedSeriesSequence")]
    for frame in values.items(found, "ReferencedFrameOfReferenceSequence"):
        for study in values.items(frame, "RTReferencedStudySequence"):
            series = values.items(study, "RTReferencedSeriesSequence")
            referenced += [values.text(one, "SeriesInstanceUID") for one in series]
    return DicomObject(
        file=file,
        sop_class=values.text(found, "SOPClassUID"),
        sop_uid=values.text(found, "SOPInstanceUID"),
        modality=values.text(found, "Modality"),
        series_uid=values.text(found, "SeriesInstanceUID"),
        study_uid=values.text(found, "StudyInstanceUID"),
        referenced_series=tuple(dict.fromkeys(uid for uid in referenced if uid)),
        description=values.printable(found, "SeriesDescription"),
    )
