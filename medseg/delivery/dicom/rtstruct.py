"""Write a label map as an RTSTRUCT, with pydicom: closed contours on the slices of its series (PS3.3 A.19).

Contours run along the edges of pixels (`outlines`), so that filling them gives the same voxels back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.delivery.dicom.common import (
    RESEARCH,
    DicomSegment,
    Maker,
    character_set,
    common_header,
    explaining_failure,
    shorten,
    to_code,
)
from medseg.delivery.dicom.source import Source
from medseg.io.dicom.elements.kinds import STRUCTURE_SET_CLASS
from medseg.io.values.outlines import outlines_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, retired: the class that readers expect in RTReferencedStudySequence (PS3.3 C.8.8.5)."""
_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID",
)  # fmt: skip
"""Elements of the patient, the study and the frame of reference that are copied from the source."""
_DECIMALS = 6  # of coordinates in mm
_SHORT_STRING = 16  # characters of the value representation SH (PS3.5 6.2)
_CONTOUR_DATA = 0x30060050


def make_rtstruct(labels: NDArray, segments: Sequence[DicomSegment], source: Source, maker: Maker) -> FileDataset:
    """Make an RT Structure Set in memory; a structure without a voxel is listed and has no contour.

    Args:
        labels: (z, y, x) values on the source's own slices, in their order.
        segments: the structures, numbered from 1.
        source: the series that the labels belong to.
        maker: who made the labels.

    Returns:
        The structure set, as a data set of pydicom.

    Raises:
        DataError: the labels lie on another grid, or the object cannot be made of the source's header.
    """
    source.check_shape(labels)
    with explaining_failure("An RTSTRUCT"):
        dataset = _without_structures(source, maker, [segment.name for segment in segments])
        dataset.StructureSetROISequence = [_roi(segment, source, maker) for segment in segments]
        dataset.ROIContourSequence = [_contours(segment, labels, source) for segment in segments]
        dataset.RTROIObservationsSequence = [_observation(segment) for segment in segments]
    return dataset


def _without_structures(source: Source, maker: Maker, names: Sequence[str]) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ImplicitVRLittleEndian

    header = common_header(source.first, "RTSTRUCT", maker)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(STRUCTURE_SET_CLASS)
    meta.MediaStorageSOPInstanceUID = UID(header["sop_instance_uid"])
    # explicit VRs have 16 bits for the length of a DS (PS3.5 7.1.2): no room for contours of more than 64 KB
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ImplicitVRLittleEndian, PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if (characters := character_set(source.first, names)) is not None:
        dataset.SpecificCharacterSet = characters
    for key in _PATIENT_AND_STUDY:
        if key in source.first:
            setattr(dataset, key, source.first[key].value)
    now = datetime.now()
    dataset.SOPClassUID, dataset.SOPInstanceUID = STRUCTURE_SET_CLASS, header["sop_instance_uid"]
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", header["series_instance_uid"]
    dataset.SeriesNumber, dataset.InstanceNumber = header["series_number"], header["instance_number"]
    dataset.SeriesDescription, dataset.OperatorsName = header["series_description"], None
    dataset.Manufacturer, dataset.ManufacturerModelName = header["manufacturer"], header["manufacturer_model_name"]
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = header["software_versions"], header["device_serial_number"]
    dataset.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator")
    dataset.StructureSetLabel, dataset.StructureSetName = "MEDSEG", shorten(maker.name or maker.kind.lower())
    dataset.StructureSetDescription = f"{RESEARCH}. Not for diagnosis or treatment."
    dataset.StructureSetDate, dataset.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = dataset.StructureSetDate, dataset.StructureSetTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(source)]
    return dataset


def _referenced_frame(source: Source) -> Dataset:
    """Return the frame of reference, and in it the series with all of its images."""
    series, study, frame = _item(), _item(), _item()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [_referenced_image(source, number) for number in range(source.shape_zyx[0])]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _referenced_image(source: Source, slice_number: int) -> Dataset:
    image, item = source.image_of(slice_number), _item()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    if source.frames is not None:
        item.ReferencedFrameNumber = source.frames[slice_number]
    return item


def _roi(segment: DicomSegment, source: Source, maker: Maker) -> Dataset:
    item = _item()
    item.ROINumber, item.ROIName = segment.number, shorten(segment.name)
    item.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    item.ROIGenerationAlgorithm = maker.kind
    item.ROIGenerationDescription = maker.description
    return item


def _contours(segment: DicomSegment, labels: NDArray, source: Source) -> Dataset:
    item, contours = _item(), []
    for number in range(len(labels)):
        for points in _patient_outlines(segment.mask(labels[number]), source, number):
            contour = _item()
            contour.ContourImageSequence = [_referenced_image(source, number)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour[_CONTOUR_DATA] = _contour_data(points)
            contours.append(contour)
    item.ROIDisplayColor = list(segment.rgb)
    if contours:
        item.ContourSequence = contours
    item.ReferencedROINumber = segment.number
    return item


def _patient_outlines(mask: NDArray[np.bool_], source: Source, number: int) -> Iterator[NDArray[np.float64]]:
    """Yield the outlines of a slice, each (point, 3) in LPS mm, by the equation of PS3.3 C.7.6.2.1.1."""
    along_row, along_column = np.array(source.orientation).reshape(2, 3)
    between_rows, between_columns = source.spacing_yx_mm
    for outline in outlines_of(mask):
        rows, columns = outline[:, :1], outline[:, 1:]
        yield source.positions[number] + columns * between_columns * along_row + rows * between_rows * along_column


def _contour_data(points: NDArray[np.float64]) -> Any:
    """Return coordinates as an element that pydicom writes as it is: checking each number can take a minute."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    text = "\\".join([f"{value:.{_DECIMALS}f}" for value in points.ravel().tolist()]).encode()
    text += b" " * (len(text) % 2)  # values have an even length (PS3.5 7.1)
    return RawDataElement(Tag(_CONTOUR_DATA), "DS", len(text), text, 0, True, True)


def _observation(segment: DicomSegment) -> Dataset:
    item, concept = _item(), _item()
    item.ObservationNumber = item.ReferencedROINumber = segment.number
    item.ROIObservationLabel = shorten(segment.name, _SHORT_STRING)
    code = to_code(segment.coding.type)
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code[0], code[1], code[2]
    item.RTROIIdentificationCodeSequence = [concept]
    item.RTROIInterpretedType, item.ROIInterpreter = None, None
    return item


def _item() -> Any:
    """Return an empty item of a sequence."""
    from pydicom.dataset import Dataset

    return Dataset()
