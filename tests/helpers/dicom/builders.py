"""Small DICOM series that tests write themselves, with pydicom: `from dicom.builders import write_series`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
TURNED = (-1, 0, 0, 0, -1, 0)
"""An axial slice turned by 180 degrees in its plane."""
OBLIQUE = (0.8, 0.6, 0, -0.36, 0.48, 0.8)
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"


def uid(*parts: object) -> str:
    """Always the same UID for the same parts."""
    return generate_uid(entropy_srcs=[repr(parts)])


def ramp(slices: int = 5, rows: int = 4, columns: int = 6) -> NDArray[np.int16]:
    """(slice, row, column) where every voxel is another: 100 a slice, 10 a row, 1 a column."""
    z, y, x = np.indices((slices, rows, columns))
    return (100 * z + 10 * y + x).astype(np.int16)


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    return np.cross(orientation[:3], orientation[3:])


def image_dataset(
    pixels: NDArray,
    position: Sequence[float] = (0, 0, 0),
    orientation: Sequence[float] = AXIAL,
    spacing_yx: Sequence[float] = (2.0, 1.5),
    series: str = "a series",
    instance: object = 1,
    **changes: Any,
) -> Dataset:
    """A single-frame image; `changes` are elements by keyword, None for one that is to be absent."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = uid(series, instance)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid(series)
    dataset.FrameOfReferenceUID = uid("frame of reference")
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "SECRET-ID"
    dataset.StudyDate = dataset.StudyTime = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "CT", 4, "thorax"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.10g}" for value in orientation]
    dataset.PixelSpacing = list(spacing_yx)
    dataset.SliceThickness = 3
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, syntax: str | None = None) -> Path:
    """Write a data set as a file; `syntax` packs it with pydicom's own encoders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if syntax is not None:
        dataset.compress(syntax)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    array: NDArray | None = None,
    step_mm: float = 3.0,
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (10, 20, 30),
    move: Callable[[int], Sequence[float]] | None = None,
    each: Callable[[int], dict[str, Any]] | None = None,
    name: Callable[[int], str] = "IM{:04d}.dcm".format,
    syntax: str | None = None,
    series: str = "a series",
    **changes: Any,
) -> list[Path]:
    """Write a series of single-frame files.

    Args:
        folder: it is made.
        array: (slice, row, column) as stored; `ramp()` unless given.
        step_mm, orientation, origin: slices follow each other along the normal.
        move: position of slice k, instead.
        each: elements of slice k that differ.
        name: of the file of slice k.
        syntax: transfer syntax to pack the pixels in.
        series: tells UIDs apart.
        changes: elements of all slices.
    """
    array = ramp() if array is None else array
    paths = []
    for number, pixels in enumerate(array):
        position = np.array(origin) + normal_of(orientation) * step_mm * number if move is None else move(number)
        own = {"InstanceNumber": number + 1, **changes, **(each(number) if each is not None else {})}
        dataset = image_dataset(pixels, position, orientation, series=series, instance=(number, *own.items()), **own)
        paths.append(save(dataset, folder / name(number), syntax))
    return paths


def item(**elements: Any) -> Items:
    """A sequence of one item."""
    one = Dataset()
    for keyword, value in elements.items():
        setattr(one, keyword, value)
    return Items([one])


def write_enhanced(
    path: Path,
    array: NDArray,
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float] = AXIAL,
    spacing_yx: Sequence[float] = (2.0, 1.5),
    each: Callable[[int], dict[str, Any]] | None = None,
    content: Callable[[int], dict[str, Any]] | None = None,
    rescale: Callable[[int], tuple[float, float]] | None = None,
    **changes: Any,
) -> Path:
    """Write an enhanced MR: (frame, row, column) with a position each.

    Args:
        path: the file.
        array, positions, orientation, spacing_yx: of the frames.
        each: functional groups of frame k, sequences by keyword.
        content: elements of FrameContentSequence of frame k.
        rescale: slope and intercept of frame k.
        changes: elements outside of the functional groups.
    """
    dataset = image_dataset(array, spacing_yx=spacing_yx, SOPClassUID=ENHANCED_MR, Modality="MR", **changes)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(array)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientation))
    shared.PixelMeasuresSequence = item(PixelSpacing=list(spacing_yx), SliceThickness=3)
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for number, position in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=list(position))
        if content is not None:
            frame.FrameContentSequence = item(**content(number))
        if rescale is not None:
            slope, intercept = rescale(number)
            frame.PixelValueTransformationSequence = item(RescaleSlope=slope, RescaleIntercept=intercept)
        for keyword, value in (each(number) if each is not None else {}).items():
            setattr(frame, keyword, value)
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    return save(dataset, path)


def write_structured_report(path: Path) -> Path:
    """A report: an object that is not an image."""
    dataset = image_dataset(ramp(1)[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", Modality="SR", series="report")
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        delattr(dataset, keyword)
    return save(dataset, path)


def rewrite(path: Path, **changes: Any) -> Path:
    """Change elements of a file in place."""
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path
