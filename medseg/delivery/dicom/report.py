"""Write the volumes of structures as a structured report that refers to a Segmentation object (PS3.16 TID 1500)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medseg.delivery.dicom.codes import SIDES
from medseg.delivery.dicom.common import (
    NOT_STATED,
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
    from highdicom.seg import Segmentation
    from highdicom.sr import ComprehensiveSR

    from medseg.confidence.assessment import Assessment

_DIGITS = 6  # significant digits of a volume: more than any segmentation justifies
_PROCEDURE = "SCT 363679005 Imaging procedure"
_VOLUME = "SCT 118565006 Volume"
_UNIT = "UCUM mL milliliter"
_NO_UNIT = "UCUM 1 no units"
_PRIVATE = "99MEDSEG"
"""The coding scheme of what no standard has a code for; schemes that are private begin with 99 (PS3.16, section 8)."""
_LATIN_1 = "ISO_IR 100"  # a report must state a character set, even where the source states none


def make_report(
    volumes_ml: Mapping[str, float],
    segments: Sequence[DicomSegment],
    seg: Segmentation,
    source: Source,
    maker: Maker,
    assessment: Assessment | None = None,
) -> ComprehensiveSR:
    """Make a Comprehensive SR in memory with one measurement group for each structure.

    Args:
        volumes_ml: {structure: volume in ml}; structures without one are left out.
        segments: the structures, as the Segmentation object has them.
        seg: the Segmentation object.
        source: the series that both belong to.
        maker: who made the labels.
        assessment: what is expected of the answer: predicted Dice and the interval of the
            volume become measurements, flags become evaluations.

    Returns:
        The report, as a data set of pydicom.

    Raises:
        DataError: the report cannot be made of the source's header.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    with explaining_failure("A structured report"):
        measured = [segment for segment in segments if segment.name in volumes_ml]
        groups = [
            _measurement_group(segment, volumes_ml[segment.name], seg, source, maker, assessment)
            for segment in measured
        ]
        content = hd.sr.MeasurementReport(
            observation_context=_observation_context(maker),
            procedure_reported=to_code(_PROCEDURE),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        )
        names = [segment.name for segment in segments]
        return hd.sr.ComprehensiveSR(
            evidence=[seg, *source.images],
            content=content[0],
            is_complete=True,
            is_final=False,
            is_verified=False,
            specific_character_set=character_set(source.first, names) or _LATIN_1,
            **common_header(source.first, "SR", maker),
        )


def _observation_context(maker: Maker) -> Any:
    """Return the observer: a program, whose UID follows from its version and model (PS3.16 TID 1004)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    identity = [part or "" for part in ("medseg", maker.name, maker.version, maker.model)]
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=identity), name="medseg", manufacturer_name="medseg", model_name=maker.name
    )
    observer = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return hd.sr.ObservationContext(observer_device_context=observer)


def _measurement_group(
    segment: DicomSegment,
    volume_ml: float,
    seg: Segmentation,
    source: Source,
    maker: Maker,
    assessment: Assessment | None,
) -> Any:
    """Return the measurements of one structure (PS3.16 TID 1411)."""
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
        algorithm = hd.sr.AlgorithmIdentification(maker.name or NOT_STATED, maker.version or NOT_STATED)
    volume = hd.sr.Measurement(
        name=to_code(_VOLUME),
        value=float(f"{volume_ml:.{_DIGITS}g}"),
        unit=to_code(_UNIT),
        algorithm_id=algorithm,
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(segment.tracking_uid, shorten(segment.name)),
        referenced_segment=reference,
        finding_category=to_code(coding.category),
        finding_type=to_code(coding.type),
        finding_sites=_finding_sites(segment),
        measurements=[volume, *_expected(segment, algorithm, assessment)],
        qualitative_evaluations=_evaluations(segment, assessment),
    )


def _expected(segment: DicomSegment, algorithm: Any, assessment: Assessment | None) -> list[Any]:
    """Return predicted Dice and bounds of the volume of a structure as measurements; none where they are not known."""
    import highdicom as hd

    expected = None if assessment is None else assessment.structures.get(segment.name)
    if expected is None:
        return []
    figures = [
        ("PREDICTED_DICE", "Predicted Dice coefficient", expected.dice, _NO_UNIT),
        ("VOLUME_LOW", "Volume, lower bound of its 90 % interval", expected.volume_low, _UNIT),
        ("VOLUME_HIGH", "Volume, upper bound of its 90 % interval", expected.volume_high, _UNIT),
    ]
    return [
        hd.sr.Measurement(
            name=hd.sr.CodedConcept(code, _PRIVATE, meaning),
            value=float(f"{value:.4g}"),
            unit=to_code(unit),
            algorithm_id=algorithm,
        )
        for code, meaning, value, unit in figures
        if value is not None
    ]


def _evaluations(segment: DicomSegment, assessment: Assessment | None) -> list[Any] | None:
    """Return the flags of a structure, and those of the whole scan, as evaluations; None without any."""
    import highdicom as hd

    flags = (
        []
        if assessment is None
        else [flag for flag in assessment.flags if not flag.structures or segment.name in flag.structures]
    )
    name = hd.sr.CodedConcept("QUALITY_FLAG", _PRIVATE, "Reason to doubt the segmentation")
    evaluations = [
        hd.sr.QualitativeEvaluation(name, hd.sr.CodedConcept(flag.kind.upper(), _PRIVATE, shorten(flag.text)))
        for flag in flags
    ]
    return evaluations or None


def _finding_sites(segment: DicomSegment) -> list[Any] | None:
    """Return where a structure is: its region with the side; for a part of the body its own code carries the side."""
    import highdicom as hd

    coding = segment.coding
    if coding.region is not None:
        site, modifiers = coding.region, coding.region_modifiers
    else:
        site, modifiers = coding.type, coding.modifiers
        if not modifiers:
            return None
    sides = [text for text in modifiers if text in SIDES.values()]
    return [hd.sr.FindingSite(to_code(site), laterality=to_code(sides[0]) if sides else None)]
