"""Reports of volumes, as highdicom and dciodvfy read them."""

from __future__ import annotations

import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import highdicom as hd
import pydicom
from dicom.answers import errors_of_dciodvfy, labels, meaning, written_series

from medseg.confidence.assessment import Assessment, Flag, StructureQuality
from medseg.delivery.dicom.write import object_paths, write_objects

VOLUMES = {"kidney_left": 12.3456789, "liver": 1500.0, "spleen": 0.0}


@pytest.mark.parametrize("labelmap", [False, True])
def test_a_group_a_structure_with_its_volume_in_ml(tmp_path, labelmap):
    volume = written_series(tmp_path / "series")
    paths = object_paths(tmp_path, "case", ["seg", "report"])
    seg_path, path = paths["seg"], paths["report"]
    write_objects(labels(), volume.series, meaning(labelmap=labelmap), paths, VOLUMES)
    errors = errors_of_dciodvfy(path)
    if labelmap:  # a SOP class that the program may not know yet
        errors = [line for line in errors if "Referenced SOP Class that is not segmentation" not in line]
    assert errors == []
    seg, report = pydicom.dcmread(seg_path), hd.sr.srread(path)
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(VOLUMES)
    described = {segment.SegmentLabel: segment for segment in seg.SegmentSequence}
    for group, (name, expected) in zip(groups, VOLUMES.items(), strict=True):
        (measured,) = group.get_measurements()
        assert (measured.name.meaning, measured.unit.value) == ("Volume", "mL")
        assert measured.value == pytest.approx(expected, rel=1e-5)
        reference = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == described[name].SegmentNumber
        assert group.tracking_uid == described[name].TrackingUID
        assert group.finding_type.meaning == described[name].SegmentedPropertyTypeCodeSequence[0].CodeMeaning
    (site,) = groups[0].finding_sites
    assert (site.topographical_modifier, site.laterality.meaning) == (None, "Left")


def test_predicted_dice_is_a_measurement_and_flags_are_evaluations(tmp_path):
    volume = written_series(tmp_path / "series")
    paths = object_paths(tmp_path, "case", ["seg", "report"])
    flags = (
        Flag("scan", "", 4.0, 2.0, "the scan is odd"),
        Flag(
            "volume",
            "liver",
            5.0,
            2.0,
            "liver has a volume of 10; usual are 1200 to 1700, which is many more than that",
        ),
        Flag("arrangement", "liver > spleen", 5.0, 2.0, "they lie otherwise"),
    )
    assessment = Assessment(
        {"liver": StructureQuality(0.4321, 0.3, 0.5, 1400.0, 1612.34), "spleen": StructureQuality()}, flags
    )
    write_objects(labels(), volume.series, meaning(), paths, VOLUMES, assessment)
    assert errors_of_dciodvfy(paths["report"]) == []
    groups = hd.sr.srread(paths["report"]).content.get_volumetric_roi_measurement_groups()
    by_name = {group.tracking_identifier: group for group in groups}
    _, dice, low, high = by_name["liver"].get_measurements()
    assert [(bound.value, bound.unit.value) for bound in (low, high)] == [(1400, "mL"), (1612, "mL")]
    assert (dice.name.meaning, dice.value, dice.unit.value) == ("Predicted Dice coefficient", 0.4321, "1")
    assert [len(by_name[name].get_measurements()) for name in VOLUMES] == [1, 4, 1]
    raised = {
        name: [
            evaluation.value.value
            for evaluation in group.get_qualitative_evaluations()
            if evaluation.name.value == "QUALITY_FLAG"
        ]
        for name, group in by_name.items()
    }
    assert raised == {
        "kidney_left": ["SCAN"],
        "liver": ["SCAN", "VOLUME", "ARRANGEMENT"],
        "spleen": ["SCAN", "ARRANGEMENT"],
    }
