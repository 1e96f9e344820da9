"""The frames of a multi-frame image: what its functional groups say, shared and for each (PS3.3, C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.listing.series import Slice

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FRAME_TAGS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence")
_MOST_FRAMES = 100_000
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
_PLACES = ("ImagePositionPatient", "InStackPositionNumber", "StackID", "ImageOrientationPatient")


def slices_of_frames(found: Dataset, whole: Slice, frames: int) -> Iterator[Slice]:
    """A slice for each frame; `whole` is the file as the elements outside of the functional groups describe it.

    Raises:
        DataError: there are fewer descriptions than frames.
    """
    shared = next(iter(values.items(found, "SharedFunctionalGroupsSequence")), None)
    each = values.items(found, "PerFrameFunctionalGroupsSequence")
    if frames > _MOST_FRAMES or (each and len(each) != frames):
        raise DataError(f"{whole.file.name} declares {frames} frames and describes {len(each)}.", kind="damaged")
    dimensions = _dimensions(found)
    if not each:  # frames without descriptions have no position of their own
        whole = replace(whole, position=None) if frames > 1 else whole
    for number in range(frames):
        groups = ([each[number]] if each else []) + ([shared] if shared is not None else [])
        yield _slice(whole, number, groups, dimensions)


def _slice(whole: Slice, number: int, groups: list[Dataset], dimensions: list[str]) -> Slice:
    measures = _group(groups, "PixelMeasuresSequence")
    position = _group(groups, "PlanePositionSequence")
    orientation = _group(groups, "PlaneOrientationSequence")
    transformation = _group(groups, "PixelValueTransformationSequence")
    changes: dict[str, Any] = {"frame": number, "facts": {**whole.facts, **_facts(groups, dimensions)}}
    if position is not None:
        changes["position"] = values.vector(values.numbers(position, "ImagePositionPatient", 3))
    elif groups:
        changes["position"] = None
    if orientation is not None:
        changes["orientation"] = values.numbers(orientation, "ImageOrientationPatient", 6)
    if measures is not None:
        spacing = values.numbers(measures, "PixelSpacing", 2)
        changes["spacing_yx"] = None if spacing is None else (spacing[0], spacing[1])
        changes["thickness"] = values.number(measures, "SliceThickness")
    if transformation is not None:
        slope = values.number(transformation, "RescaleSlope")
        changes["rescale"] = (1.0 if slope is None else slope, values.number(transformation, "RescaleIntercept") or 0.0)
    return replace(whole, **changes)


def _facts(groups: list[Dataset], dimensions: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, (sequence, keyword) in _NUMBERS.items():
        group = _group(groups, sequence)
        facts[name] = None if group is None else values.number(group, keyword)
    for name, (sequence, keyword) in _TEXTS.items():
        group = _group(groups, sequence)
        facts[name] = None if group is None else values.text(group, keyword) or None
    frame_type = next((group for name in _FRAME_TYPES if (group := _group(groups, name)) is not None), None)
    if frame_type is not None:
        facts["image type"] = values.text(frame_type, "FrameType") or None
    diffusion = _group(groups, "MRDiffusionSequence")
    if diffusion is not None:
        direction = next(iter(values.items(diffusion, "DiffusionGradientDirectionSequence")), None)
        if direction is not None:
            facts["direction"] = values.numbers(direction, "DiffusionGradientOrientation", 3)
        facts["directionality"] = values.text(diffusion, "DiffusionDirectionality") or None
    content = _group(groups, "FrameContentSequence")
    if content is not None and dimensions:
        index = values.numbers(content, "DimensionIndexValues", len(dimensions))
        facts |= {
            f"dimension {name}": place
            for name, place in zip(dimensions, index or (), strict=False)
            if name not in _PLACES
        }
    return {name: value for name, value in facts.items() if value is not None}


def _group(groups: list[Dataset], sequence: str) -> Dataset | None:
    """The first item of a functional group: that of the frame, else the shared one."""
    return next((items[0] for group in groups if (items := values.items(group, sequence))), None)


def _dimensions(found: Dataset) -> list[str]:
    """Names of the dimensions that frames are organized along; an unknown one is called by its number."""
    from pydicom.datadict import keyword_for_tag

    pointers = [item.get("DimensionIndexPointer") for item in values.items(found, "DimensionIndexSequence")]
    return [
        (keyword_for_tag(pointer) if pointer is not None else "") or str(number)
        for number, pointer in enumerate(pointers, start=1)
    ]
