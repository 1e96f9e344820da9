"""Turn the frames of a multi-frame image into slices: what its functional groups state, shared and per frame.

The functional groups of a frame are items of PerFrameFunctionalGroupsSequence; what all frames have in common stands in
SharedFunctionalGroupsSequence (PS3.3 C.7.6.16).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.series import Slice

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FRAME_TAGS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence",
              "DetectorInformationSequence", "SpacingBetweenSlices", "SliceVector")  # fmt: skip
"""The elements of a header that describe frames."""
_NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"  # SOP class of Nuclear Medicine Image Storage
_RECONSTRUCTION = "RECON TOMO"  # value 3 of ImageType of its reconstructed volumes (PS3.3 C.8.4.9.1.2)
_MAX_FRAMES = 100_000
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "FrameTypeSequence")
_NUMBERS = {
    "b": ("MRDiffusionSequence", "DiffusionBValue"),
    "echo time": ("MREchoSequence", "EffectiveEchoTime"),
    "flip angle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "time position": ("FrameContentSequence", "TemporalPositionIndex"),
    "trigger": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "kilovolts": ("CTXRayDetailsSequence", "KVP"),
}
_TEXTS = {
    "stack": ("FrameContentSequence", "StackID"),
    "acquired": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "kernel": ("CTReconstructionSequence", "ConvolutionKernel"),
}
_POSITION_DIMENSIONS = ("ImagePositionPatient", "InStackPositionNumber", "StackID", "ImageOrientationPatient")
"""Dimensions that say where a frame lies, and not which volume it belongs to."""


def slices_of_frames(dataset: Dataset, whole: Slice, frames: int) -> Iterator[Slice]:
    """Yield a slice for each frame.

    Args:
        dataset: the header of the multi-frame image.
        whole: the file as the elements outside of the functional groups describe it.
        frames: how many frames the file declares.

    Raises:
        DataError: the file declares too many frames, or another number of them than it describes.
    """
    shared = values.items(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = values.items(dataset, "PerFrameFunctionalGroupsSequence")
    if frames > _MAX_FRAMES or (per_frame and len(per_frame) != frames):
        raise DataError(f"{whole.file.name} declares {frames} frames and describes {len(per_frame)}.", kind="damaged")
    dimensions = _dimensions(dataset)
    if not per_frame and frames > 1:  # frames that are not described have no positions of their own
        reconstructed = _reconstructed_slices(dataset, whole, frames)
        if reconstructed:
            yield from reconstructed
            return
        whole = replace(whole, position=None)
    for number in range(frames):
        yield _slice(whole, number, [*per_frame[number : number + 1], *shared], dimensions)


def _reconstructed_slices(dataset: Dataset, whole: Slice, frames: int) -> list[Slice]:
    """Return the frames of a volume that nuclear medicine reconstructed; empty if it is none, or lacks its geometry.

    The first frame's position and orientation stand with the detector (PS3.3 C.8.4.11); the others follow along the
    normal, a negative SpacingBetweenSlices against it (PS3.3 C.8.4.15), in the order of SliceVector.
    """
    if whole.sop_class_uid != _NUCLEAR or _RECONSTRUCTION not in values.text(dataset, "ImageType").upper():
        return []
    step_mm = values.number(dataset, "SpacingBetweenSlices")
    vector = values.numbers(dataset, "SliceVector", frames)
    position, orientation = whole.position, whole.orientation
    for detector in values.items(dataset, "DetectorInformationSequence")[:1]:
        position = values.point(values.numbers(detector, "ImagePositionPatient", 3)) or position
        orientation = values.numbers(detector, "ImageOrientationPatient", 6) or orientation
    if not step_mm or position is None or orientation is None or (vector is None and "SliceVector" in dataset):
        return []
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for number in range(frames):
        index = number if vector is None else int(vector[number]) - 1
        corner = tuple(float(value) for value in np.array(position) + normal * step_mm * index)
        slices.append(replace(whole, frame=number, position=values.point(corner), orientation=orientation))
    return slices


def _slice(whole: Slice, number: int, groups: Sequence[Dataset], dimensions: Sequence[str]) -> Slice:
    measures = values.functional_group(groups, "PixelMeasuresSequence")
    position = values.functional_group(groups, "PlanePositionSequence")
    orientation = values.functional_group(groups, "PlaneOrientationSequence")
    transformation = values.functional_group(groups, "PixelValueTransformationSequence")
    acquisition = {**whole.acquisition, **_acquisition(groups, dimensions)}
    changes: dict[str, Any] = {"frame": number, "acquisition": acquisition}
    if position is not None:
        changes["position"] = values.point(values.numbers(position, "ImagePositionPatient", 3))
    elif groups:
        changes["position"] = None
    if orientation is not None:
        changes["orientation"] = values.numbers(orientation, "ImageOrientationPatient", 6)
    if measures is not None:
        spacing = values.numbers(measures, "PixelSpacing", 2)
        changes["spacing_yx_mm"] = None if spacing is None else (spacing[0], spacing[1])
        changes["thickness_mm"] = values.number(measures, "SliceThickness")
    if transformation is not None:
        slope = values.number(transformation, "RescaleSlope")
        changes["rescale_elements"] = frozenset({"RescaleSlope", "RescaleIntercept"})
        changes["unit"] = values.text(transformation, "RescaleType").upper() or whole.unit
        changes["rescale"] = (1.0 if slope is None else slope, values.number(transformation, "RescaleIntercept") or 0.0)
    return replace(whole, **changes)


def _acquisition(groups: Sequence[Dataset], dimensions: Sequence[str]) -> dict[str, Any]:
    """Return the acquisition attributes of a frame, by the names that those of single-frame images have."""
    elements: dict[str, Any] = {}
    for name, (sequence, keyword) in _NUMBERS.items():
        group = values.functional_group(groups, sequence)
        elements[name] = None if group is None else values.number(group, keyword)
    for name, (sequence, keyword) in _TEXTS.items():
        group = values.functional_group(groups, sequence)
        elements[name] = None if group is None else values.text(group, keyword) or None
    types = (values.functional_group(groups, sequence) for sequence in _FRAME_TYPES)
    frame_type = next((group for group in types if group is not None), None)
    if frame_type is not None:
        elements["image type"] = values.text(frame_type, "FrameType") or None
    diffusion = values.functional_group(groups, "MRDiffusionSequence")
    if diffusion is not None:
        direction = next(iter(values.items(diffusion, "DiffusionGradientDirectionSequence")), None)
        if direction is not None:
            elements["direction"] = values.numbers(direction, "DiffusionGradientOrientation", 3)
        elements["directionality"] = values.text(diffusion, "DiffusionDirectionality") or None
    content = values.functional_group(groups, "FrameContentSequence")
    if content is not None and dimensions:
        index = values.numbers(content, "DimensionIndexValues", len(dimensions)) or ()
        elements |= {
            f"dimension {name}": value
            for name, value in zip(dimensions, index, strict=False)
            if name not in _POSITION_DIMENSIONS
        }
    return {name: value for name, value in elements.items() if value is not None}


def _dimensions(dataset: Dataset) -> list[str]:
    """Return the names of the dimensions that frames are organized along (PS3.3 C.7.6.17); a number if unknown."""
    from pydicom.datadict import keyword_for_tag

    pointers = [item.get("DimensionIndexPointer") for item in values.items(dataset, "DimensionIndexSequence")]
    return [
        (keyword_for_tag(pointer) if pointer is not None else "") or str(number)
        for number, pointer in enumerate(pointers, start=1)
    ]
