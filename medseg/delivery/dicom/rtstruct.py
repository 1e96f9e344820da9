"""A label map as an RTSTRUCT: closed contours on the slices of its series, with pydicom.

Contours run along the edges of pixels, so that their areas are exact and filling them gives the same voxels back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg import __version__
from medseg.core.errors import DataError
from medseg.delivery.dicom.objects import (
    RESEARCH,
    Maker,
    Segment,
    character_set,
    code,
    equipment,
    header_of,
    shortened,
    writing,
)
from medseg.delivery.dicom.outlines import outlines_of
from medseg.delivery.dicom.source import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # what RT Referenced Study Sequence asks for
_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID",
)  # fmt: skip
_DECIMALS = 6
_CONTOUR_DATA = 0x30060050


def make_rtstruct(labels: NDArray, segments: Sequence[Segment], source: Source, maker: Maker) -> FileDataset:
    """An RT Structure Set in memory; a structure without a voxel is there and has no contour.

    Args:
        labels: (z, y, x) values on the source's own slices, in their order.
        segments: the structures, numbered from 1.
        source: the series that the labels belong to.
        maker: how they came about.

    Raises:
        DataError: the labels lie on another grid, or the source's header does not do.
    """
    if labels.shape != source.shape_zyx:
        raise DataError(f"Labels of shape (z, y, x) {labels.shape} do not fit a series of {source.shape_zyx}.")
    with writing("An RTSTRUCT"):
        found = _empty(source, maker, [segment.name for segment in segments])
        found.StructureSetROISequence = [_roi(segment, source, maker) for segment in segments]
        found.ROIContourSequence = [_contours(segment, labels, source) for segment in segments]
        found.RTROIObservationsSequence = [_observation(segment) for segment in segments]
    return found


def _empty(source: Source, maker: Maker, names: Sequence[str]) -> FileDataset:
    """The object without its structures."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ImplicitVRLittleEndian

    header, tools = header_of(source.first, "RTSTRUCT", maker, 2), equipment(maker)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(SOP_CLASS), UID(header["sop_instance_uid"])
    # explicit VRs have no room for contours of more than 64 KB
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ImplicitVRLittleEndian, PYDICOM_IMPLEMENTATION_UID
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if (characters := character_set(source.first, names)) is not None:
        found.SpecificCharacterSet = characters
    for key in _PATIENT_AND_STUDY:
        if key in source.first:
            setattr(found, key, source.first[key].value)
    now = datetime.now()
    found.SOPClassUID, found.SOPInstanceUID = SOP_CLASS, header["sop_instance_uid"]
    found.Modality, found.SeriesInstanceUID = "RTSTRUCT", header["series_instance_uid"]
    found.SeriesNumber, found.InstanceNumber = header["series_number"], 1
    found.SeriesDescription, found.OperatorsName = header["series_description"], None
    found.Manufacturer, found.ManufacturerModelName = tools["manufacturer"], tools["manufacturer_model_name"]
    found.SoftwareVersions, found.DeviceSerialNumber = __version__, tools["device_serial_number"]
    found.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator")
    found.StructureSetLabel, found.StructureSetName = "MEDSEG", shortened(maker.name or maker.kind.lower())
    found.StructureSetDescription = f"{RESEARCH}. Not for diagnosis or treatment."
    found.StructureSetDate, found.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    found.InstanceCreationDate, found.InstanceCreationTime = found.StructureSetDate, found.StructureSetTime
    found.ApprovalStatus = "UNAPPROVED"
    found.ReferencedFrameOfReferenceSequence = [_referenced(source)]
    return found


def _referenced(source: Source) -> Dataset:
    """The frame of reference, and in it the series with all of its images."""
    series, study = _item(), _item()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [_image(source, number) for number in range(source.shape_zyx[0])]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = _item()
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(source: Source, slice_number: int) -> Dataset:
    image, found = source.image_of(slice_number), _item()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    if source.frames is not None:
        found.ReferencedFrameNumber = source.frames[slice_number]
    return found


def _roi(segment: Segment, source: Source, maker: Maker) -> Dataset:
    found = _item()
    found.ROINumber, found.ROIName = segment.number, shortened(segment.name)
    found.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    found.ROIGenerationAlgorithm = maker.kind
    found.ROIGenerationDescription = maker.described
    return found


def _contours(segment: Segment, labels: NDArray, source: Source) -> Dataset:
    found, contours = _item(), []
    for number in range(len(labels)):
        for points in _in_patient(segment.mask(labels[number]), source, number):
            contour = _item()
            contour.ContourImageSequence = [_image(source, number)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour[_CONTOUR_DATA] = _decimals(points)
            contours.append(contour)
    found.ROIDisplayColor = list(segment.rgb)
    if contours:
        found.ContourSequence = contours
    found.ReferencedROINumber = segment.number
    return found


def _in_patient(mask: NDArray[np.bool_], source: Source, number: int) -> Iterator[NDArray[np.float64]]:
    """The outlines of a slice, each (point, 3) in LPS mm."""
    along_row, along_column = np.array(source.orientation).reshape(2, 3)
    between_rows, between_columns = source.spacing_yx
    for outline in outlines_of(mask):
        rows, columns = outline[:, :1], outline[:, 1:]
        yield source.positions[number] + columns * between_columns * along_row + rows * between_rows * along_column


def _decimals(points: NDArray[np.float64]) -> Any:
    """Coordinates as an element that is written as it is; pydicom would look at each number for a minute at times."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    text = "\\".join([f"{value:.{_DECIMALS}f}" for value in points.ravel().tolist()]).encode()
    text += b" " * (len(text) % 2)
    return RawDataElement(Tag(_CONTOUR_DATA), "DS", len(text), text, 0, True, True)


def _observation(segment: Segment) -> Dataset:
    found = _item()
    found.ObservationNumber = found.ReferencedROINumber = segment.number
    found.ROIObservationLabel = shortened(segment.name, 16)
    concept = _item()
    meant = code(segment.coding.type)
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = meant[0], meant[1], meant[2]
    found.RTROIIdentificationCodeSequence = [concept]
    found.RTROIInterpretedType, found.ROIInterpreter = None, None
    return found


def _item() -> Any:
    from pydicom.dataset import Dataset

    return Dataset()
