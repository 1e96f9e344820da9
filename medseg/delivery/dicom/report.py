"""The volumes of an answer as a structured report (DICOM PS3.16, TID 1500), which refers to its Segmentation object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medseg.delivery.dicom.codes import SIDES
from medseg.delivery.dicom.objects import Maker, Segment, character_set, code, header_of, shortened, writing
from medseg.delivery.dicom.source import Source

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from highdicom.sr import ComprehensiveSR

_DIGITS = 6
_PROCEDURE = "SCT 363679005 Imaging procedure"
_VOLUME = "SCT 118565006 Volume"
_UNIT = "UCUM mL milliliter"


def make_report(
    volumes_ml: Mapping[str, float], segments: Sequence[Segment], seg: Segmentation, source: Source, maker: Maker
) -> ComprehensiveSR:
    """A Comprehensive SR in memory with one measurement group a structure.

    Args:
        volumes_ml: {structure: volume in ml}; structures without one are left out.
        segments: the structures, as the Segmentation object has them.
        seg: that object.
        source: the series that both belong to.
        maker: how the labels came about.

    Raises:
        DataError: the source's header does not do.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    with writing("A structured report"):
        measured = [segment for segment in segments if segment.name in volumes_ml]
        content = hd.sr.MeasurementReport(
            observation_context=_context(maker),
            procedure_reported=code(_PROCEDURE),
            imaging_measurements=[
                _group(segment, volumes_ml[segment.name], seg, source, maker) for segment in measured
            ],
            title=codes.DCM.ImagingMeasurementReport,
        )
        names = [segment.name for segment in segments]
        return hd.sr.ComprehensiveSR(
            evidence=[seg, *source.images],
            content=content[0],
            is_complete=True,
            is_final=False,
            is_verified=False,
            specific_character_set=character_set(source.first, names) or "ISO_IR 100",
            **header_of(source.first, "SR", maker, 3),
        )


def _context(maker: Maker) -> Any:
    """The observer is a program, whose UID follows from its version and model."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    named = [part or "" for part in ("medseg", maker.name, maker.version, maker.model)]
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=named), name="medseg", manufacturer_name="medseg", model_name=maker.name
    )
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return hd.sr.ObservationContext(observer_device_context=observer)


def _group(segment: Segment, volume_ml: float, seg: Segmentation, source: Source, maker: Maker) -> Any:
    import highdicom as hd

    coding = segment.coding
    reference = hd.sr.ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=segment.number,
        source_series=hd.sr.SourceSeriesForSegmentation(source.first.SeriesInstanceUID),
    )
    algorithm = None
    if maker.kind != "MANUAL":
        algorithm = hd.sr.AlgorithmIdentification(maker.name or "not stated", maker.version or "not stated")
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(segment.tracking_uid, shortened(segment.name)),
        referenced_segment=reference,
        finding_category=code(coding.category),
        finding_type=code(coding.type),
        finding_sites=_sites(segment),
        measurements=[
            hd.sr.Measurement(
                name=code(_VOLUME),
                value=float(f"{volume_ml:.{_DIGITS}g}"),
                unit=code(_UNIT),
                algorithm_id=algorithm,
            )
        ],
    )


def _sites(segment: Segment) -> list[Any] | None:
    """Where it is: the region of what has one, with its side; for a part of the body its own code carries the side."""
    import highdicom as hd

    coding = segment.coding
    place, modifiers = (
        (coding.region, coding.region_modifiers) if coding.region is not None else (coding.type, coding.modifiers)
    )
    if coding.region is None and not modifiers:
        return None
    sides = [text for text in modifiers if text in SIDES.values()]
    return [hd.sr.FindingSite(code(place), laterality=code(sides[0]) if sides else None)]
