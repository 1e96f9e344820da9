"""Small RTSTRUCT and DICOM SEG files that tests write themselves: `from dicom.label_builders import rtstruct`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dicom.builders import AXIAL, uid
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian

from medseg.core.grids import LPS_TO_RAS
from medseg.core.image import Image

SEG, LABELMAP, RTSTRUCT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66.4", "66.7", "481.3"))
SPACING_YX = (2.0, 1.5)


def grid(
    shape_zyx: tuple[int, int, int] = (5, 8, 10),
    orientation: Sequence[float] = AXIAL,
    step_mm: float = 3.0,
    origin: Sequence[float] = (10, 20, 30),
) -> Image:
    """The grid of a series as `builders.write_series` writes it, without voxels."""
    x, y = np.array(orientation[:3], float), np.array(orientation[3:], float)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([x * SPACING_YX[1], y * SPACING_YX[0], np.cross(x, y) * step_mm], axis=1)
    affine[:3, 3] = origin
    return Image(np.broadcast_to(np.uint8(0), (1, *shape_zyx)), LPS_TO_RAS @ affine)


def to_patient(points_xyz: Sequence[Sequence[float]], lies: Image) -> NDArray[np.float64]:
    """Points in voxels (x, y, z; centres at whole numbers) of a grid to LPS mm, as files hold them."""
    points = np.array(points_xyz, float)
    affine = LPS_TO_RAS @ lies.affine
    return points @ affine[:3, :3].T + affine[:3, 3]


def box(left: float, top: float, right: float, bottom: float, z: float) -> list[tuple[float, float, float]]:
    """A rectangle from corner to corner, in voxels."""
    return [(left, top, z), (right, top, z), (right, bottom, z), (left, bottom, z)]


def rtstruct(
    rois: Mapping[str, Sequence[Any]], lies: Image, series: str = "a series", kinds: Mapping[int, str] | None = None
) -> Dataset:
    """An RTSTRUCT without ContourImageSequence.

    Args:
        rois: {name: contours, each (point, 3) in voxels of `lies`}.
        lies: a grid.
        series: that it refers to, as in `builders`.
        kinds: {number of a contour, counted over all: its ContourGeometricType}, else CLOSED_PLANAR.
    """
    dataset = _object(RTSTRUCT, "RTSTRUCT", series)
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    counted = 0
    for number, (name, contours) in enumerate(rois.items(), start=7):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = (kinds or {}).get(counted, "CLOSED_PLANAR")
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.8g}" for value in to_patient(points, lies).reshape(-1)]
            drawn.ContourSequence.append(contour)
            counted += 1
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    frame, study, referenced = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = uid(series)
    study.RTReferencedSeriesSequence = [referenced]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = uid("frame of reference"), [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    return dataset


def seg(
    frames: Sequence[tuple[int | None, Sequence[float], NDArray]],
    names: Sequence[str],
    orientation: Sequence[float] = AXIAL,
    kind: str = "BINARY",
    series: str = "a series",
    **measures: Any,
) -> Dataset:
    """A segmentation.

    Args:
        frames: segment (None for a LABELMAP), position of the first pixel, and pixels (row, column), in this order.
        names: of the segments, from 1.
        orientation: of all frames.
        kind: SegmentationType.
        series: that it refers to.
        measures: SpacingBetweenSlices or SliceThickness.
    """
    dataset = _object(LABELMAP if kind == "LABELMAP" else SEG, "SEG", series)
    dataset.SegmentationType = kind
    dataset.SegmentSequence = []
    for number, name in enumerate(names, start=1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel = number, name
        dataset.SegmentSequence.append(item)
    shared, turn, size = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = [f"{value:.10g}" for value in orientation]
    size.PixelSpacing = list(SPACING_YX)
    for keyword, value in measures.items():
        setattr(size, keyword, value)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [size]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, position, _ in frames:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [f"{value:.10g}" for value in position]
        group.PlanePositionSequence = [place]
        if number is not None:
            segment = Dataset()
            segment.ReferencedSegmentNumber = number
            group.SegmentIdentificationSequence = [segment]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    stack = np.stack([pixels for _, _, pixels in frames])
    dataset.NumberOfFrames, (dataset.Rows, dataset.Columns) = len(frames), stack.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == "BINARY" else 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue, dataset.SegmentationFractionalType = 200, "PROBABILITY"
    packed = pack_bits(stack.astype(np.uint8).reshape(-1), pad=True) if bits == 1 else stack.astype(np.uint8).tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"
    return dataset


def _object(sop_class: str, modality: str, series: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid(modality, series, "instance")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid(modality, series)
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "SECRET-ID"
    dataset.Modality, dataset.SeriesDescription = modality, "drawn"
    referenced = Dataset()
    referenced.SeriesInstanceUID = uid(series)
    dataset.ReferencedSeriesSequence = [referenced]
    return dataset
