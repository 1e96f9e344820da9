"""Write a label map as a DICOM Segmentation object on the slices of its series, with highdicom (PS3.3 A.51).

A structure is a segment with coded category, type and region. A segment has a frame for each slice that it occupies,
with a reference to the source's image. In BINARY structures may overlap; LABELMAP (since 2024) is one map of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.delivery.dicom.common import (
    NOT_STATED,
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

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

_SHORT_TEXT = 1024  # characters of the value representation ST (PS3.5 6.2)


def make_segmentation(
    labels: NDArray, segments: Sequence[DicomSegment], source: Source, maker: Maker, kind: Literal["BINARY", "LABELMAP"]
) -> Segmentation:
    """Make a Segmentation object in memory.

    Args:
        labels: (z, y, x) values on the source's own slices, in their order.
        segments: the structures, numbered from 1; one without a voxel is described and has no frame.
        source: the series that the labels belong to.
        maker: who made the labels.
        kind: SegmentationType; structures of a LABELMAP must not overlap.

    Returns:
        The segmentation, as a data set of pydicom.

    Raises:
        DataError: the labels lie on another grid, or the object cannot be made of the source's header.
    """
    import highdicom as hd

    source.check_shape(labels)
    texts = [segment.name for segment in segments] + [maker.name or ""]
    pixel_array = _pixel_array(labels, segments)
    with explaining_failure("A segmentation object"):
        dataset = hd.seg.Segmentation(
            source_images=source.images,
            pixel_array=pixel_array,
            segmentation_type=kind,
            segment_descriptions=[_description(segment, maker) for segment in segments],
            content_label="MEDSEG",
            content_description=maker.description,
            content_creator_name=None,
            specific_character_set=character_set(source.first, texts),
            omit_empty_frames=bool(pixel_array.any()),  # an object has at least one frame; highdicom warns of none
            **common_header(source.first, "SEG", maker),
        )
        dataset.ContentCreatorName = None  # must be present (type 2); a program has no name of a person
        dataset.ImageComments = f"{RESEARCH}. Not for diagnosis or treatment."
        shared = dataset.SharedFunctionalGroupsSequence[0]
        if source.step_mm is None and "PixelMeasuresSequence" in shared:  # highdicom writes 1 mm for a single slice
            shared.PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
        if not source.has_positions:
            # says in words how the image lies where no directions do (type 2C, PS3.3 C.7.6.1.1.1)
            dataset.PatientOrientation = source.first.get("PatientOrientation")
        if source.frames is not None:
            _renumber_frames(dataset, source.frames)
    return dataset


def _pixel_array(labels: NDArray, segments: Sequence[DicomSegment]) -> NDArray:
    """Return (z, y, x) segment numbers if no structures share a value, else (z, y, x, segment) of 0 and 1."""
    values = [value for segment in segments for value in segment.values]
    if len({*values}) == len(values):
        numbers = np.zeros(labels.shape, np.uint8 if len(segments) < 1 << 8 else np.uint16)
        for segment in segments:
            numbers[segment.mask(labels)] = segment.number
        return numbers
    return np.stack([segment.mask(labels) for segment in segments], axis=-1).astype(np.uint8)


def _description(segment: DicomSegment, maker: Maker) -> SegmentDescription:
    """Return the item of SegmentSequence for a structure (PS3.3 C.8.20.4)."""
    import highdicom as hd

    coding = segment.coding
    item = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=shorten(segment.name),
        segmented_property_category=to_code(coding.category),
        segmented_property_type=to_code(coding.type),
        algorithm_type=maker.kind,
        algorithm_identification=None if maker.kind == "MANUAL" else _algorithm(maker),
        tracking_uid=segment.tracking_uid,
        tracking_id=shorten(segment.name),
        anatomic_regions=None if coding.region is None else [to_code(coding.region)],
        display_color=hd.color.CIELabColor.from_rgb(*segment.rgb),
    )
    item.SegmentDescription = shorten(segment.name, _SHORT_TEXT)
    if coding.modifiers:
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = _concepts(
            coding.modifiers
        )
    if coding.region_modifiers:
        item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = _concepts(coding.region_modifiers)
    return item


def _algorithm(maker: Maker) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=shorten(maker.name or NOT_STATED),
        family=codes.DCM.ArtificialIntelligence,
        version=shorten(maker.version or NOT_STATED),
        parameters=None if maker.model is None else {"model": maker.model},
    )


def _concepts(texts: Sequence[str]) -> list[Any]:
    from highdicom.sr import CodedConcept

    return [CodedConcept.from_code(to_code(text)) for text in texts]


def _renumber_frames(dataset: Segmentation, frames: tuple[int, ...]) -> None:
    """Refer to frames by their numbers in the source's file, of which highdicom got only those in use."""
    items = {
        id(item): item  # the frames of several segments share the item of their slice: renumbered once
        for group in dataset.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence") or []
        for item in derivation.SourceImageSequence
    }
    for item in items.values():
        item.ReferencedFrameNumber = frames[int(item.ReferencedFrameNumber) - 1]
