"""A label map as a DICOM Segmentation object on the slices of its series, by highdicom.

One segment a structure, with coded category, type and region; one frame a segment and slice that is not empty, each
with a reference to the source's image. BINARY lets structures overlap, LABELMAP (since 2024) is one map of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.delivery.dicom.objects import RESEARCH, Maker, Segment, character_set, code, header_of, shortened, writing
from medseg.delivery.dicom.source import Source

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

Kind = Literal["BINARY", "LABELMAP"]


def make_segmentation(
    labels: NDArray, segments: Sequence[Segment], source: Source, maker: Maker, kind: Kind = "BINARY"
) -> Segmentation:
    """A Segmentation object in memory.

    Args:
        labels: (z, y, x) values on the source's own slices, in their order.
        segments: the structures, numbered from 1; one without a voxel is described and has no frame.
        source: the series that the labels belong to.
        maker: how they came about.
        kind: how they are stored.

    Raises:
        DataError: the labels lie on another grid, structures overlap in a LABELMAP, or the source's header does not do.
    """
    import highdicom as hd

    if labels.shape != source.shape_zyx:
        raise DataError(f"Labels of shape (z, y, x) {labels.shape} do not fit a series of {source.shape_zyx}.")
    if kind == "LABELMAP":
        check_labelmap(segments)
    texts = [segment.name for segment in segments] + [maker.name or ""]
    with writing("A segmentation object"):
        header = header_of(source.first, "SEG", maker, 1)
        found = hd.seg.Segmentation(
            source_images=source.images,
            pixel_array=_pixels(labels, segments),
            segmentation_type=kind,
            segment_descriptions=[_described(segment, maker) for segment in segments],
            content_label="MEDSEG",
            content_description=maker.described,
            content_creator_name=None,
            specific_character_set=character_set(source.first, texts),
            omit_empty_frames=True,
            **header,
        )
        found.ContentCreatorName = None  # must be there; a program has no name of a person
        found.ImageComments = f"{RESEARCH}. Not for diagnosis or treatment."
        if source.step_mm is None:  # highdicom says 1 mm of a single slice
            found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
        if source.frames is not None:
            _renumber(found, source.frames)
    return found


def check_labelmap(segments: Sequence[Segment]) -> None:
    """Refuse structures that overlap, which a LABELMAP cannot hold.

    Raises:
        DataError: with the names of two that do.
    """
    owner: dict[int, str] = {}
    for segment in segments:
        for value in segment.values:
            if value in owner:
                raise DataError(
                    f"{owner[value]} and {segment.name} overlap, which a LABELMAP cannot hold.",
                    "Leave --labelmap out: BINARY segments may overlap.",
                )
            owner[value] = segment.name


def _pixels(labels: NDArray, segments: Sequence[Segment]) -> NDArray:
    """(z, y, x) segment numbers where structures exclude each other, else (z, y, x, segment) of 0 and 1."""
    values = [value for segment in segments for value in segment.values]
    if len({*values}) == len(values):
        numbers = np.zeros(labels.shape, np.uint8 if len(segments) < 1 << 8 else np.uint16)
        for segment in segments:
            numbers[segment.mask(labels)] = segment.number
        return numbers
    return np.stack([segment.mask(labels) for segment in segments], axis=-1).astype(np.uint8)


def _described(segment: Segment, maker: Maker) -> SegmentDescription:
    import highdicom as hd

    coding = segment.coding
    found = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=shortened(segment.name),
        segmented_property_category=code(coding.category),
        segmented_property_type=code(coding.type),
        algorithm_type=maker.kind,
        algorithm_identification=None if maker.kind == "MANUAL" else _algorithm(maker),
        tracking_uid=segment.tracking_uid,
        tracking_id=shortened(segment.name),
        anatomic_regions=None if coding.region is None else [code(coding.region)],
        display_color=hd.color.CIELabColor.from_rgb(*segment.rgb),
    )
    found.SegmentDescription = shortened(segment.name, 1024)
    if coding.modifiers:
        found.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = _concepts(
            coding.modifiers
        )
    if coding.region_modifiers:
        found.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = _concepts(coding.region_modifiers)
    return found


def _algorithm(maker: Maker) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=shortened(maker.name or "not stated"),
        family=codes.DCM.ArtificialIntelligence,
        version=shortened(maker.version or "not stated"),
        parameters=None if maker.model is None else {"model": maker.model},
    )


def _concepts(texts: Sequence[str]) -> list[Any]:
    from highdicom.sr import CodedConcept

    return [CodedConcept.from_code(code(text)) for text in texts]


def _renumber(found: Segmentation, frames: tuple[int, ...]) -> None:
    """References to frames by their numbers in the source's file, of which only those in use were handed over."""
    items = {
        id(item): item  # the frames of several segments share the one of their slice
        for group in found.PerFrameFunctionalGroupsSequence
        for derived in group.get("DerivationImageSequence") or []
        for item in derived.SourceImageSequence
    }
    for item in items.values():
        item.ReferencedFrameNumber = frames[int(item.ReferencedFrameNumber) - 1]
