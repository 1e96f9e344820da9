"""The modality of a scan against that of the training scans: named where both are known and differ, else silent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import make_plan
from dicom.builders import ramp, write_series
from facts import make_channel, make_facts

from medseg.checking.scan_modality import compare_modality
from medseg.core.case import Case
from medseg.core.image import Image
from medseg.inference.unlike_scans import scan_findings
from medseg.io.dicom.elements.modality import modalities_of
from medseg.io.dicom.listing.find import find_series
from medseg.io.load import load_case_image
from medseg.planning.scan_range import scan_range
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import geometry_of


def plan_of(channel: str, *trained: str) -> Plan:
    """A plan with one channel of this name, trained on series of these modalities; "" stands for a file of NIfTI."""
    plan = make_plan(3)
    cases = [make_facts(str(n), [make_channel(modality=modality)]) for n, modality in enumerate(trained)]
    plan.data.channels, plan.data.scans = [channel], scan_range(cases) if cases else None
    return plan


@pytest.mark.parametrize(
    ("channel", "trained", "scan", "named"),
    [
        # by what the training scans were
        ("image", ("MR", "MR"), "CT", "the training scans were MR"),
        ("image", ("CT", "MR"), "CT", None),
        ("image", ("CT", "MR"), "PT", "the training scans were CT and MR"),
        ("T1", ("CT",), "CT", None),  # a wrong name does not outweigh what was seen
        ("image", ("DX",), "CR", None),  # one radiograph, two makers
        # by the name of the channel
        ("T1", (), "CT", "the name of the channel means MR"),
        ("FLAIR", ("",), "CT", "the name of the channel means MR"),
        ("T1", (), "MR", None),
        ("MRI", (), "CT", "the name of the channel means MR"),
        ("PET", (), "CT", "the name of the channel means PT"),
        ("PET/CT", (), "MR", None),
        ("image", (), "CT", None),
        # converters write OT, which says nothing
        ("T1", ("OT",), "MR", None),
        ("image", ("OT", "SC"), "MR", None),
        ("T1", ("OT",), "CT", "the name of the channel means MR"),
        ("image", ("MR", "OT"), "CT", "the training scans were MR"),
        ("image", ("CT", "RG"), "CR", None),
        # files that say nothing, or nothing that is known
        ("T1", (), "", None),
        ("T1", (), "OT", None),
    ],
)
def test_another_modality_is_named(channel: str, trained: tuple[str, ...], scan: str, named: str | None) -> None:
    findings = compare_modality([scan], plan_of(channel, *trained))
    assert [finding.message for finding in findings] == (
        [] if named is None else [f"Its channel {channel} is of modality {scan}; {named}."]
    )
    assert not any(finding.refused for finding in findings)


def test_a_series_states_its_modality_and_a_plan_keeps_it(tmp_path: Path) -> None:
    write_series(tmp_path, np.arange(5 * 16 * 16, dtype=np.int16).reshape(5, 16, 16) % 997, RescaleIntercept=0)
    (series,) = find_series(tmp_path).series
    image = load_case_image(Case("a", "a", (series.path,)), 1)
    assert modalities_of(image) == ("CT",)
    both = load_case_image(Case("a", "a", (series.path, series.path)), 2)
    assert modalities_of(both) == ("CT", "CT")
    assert modalities_of(Image(ramp()[None], np.eye(4))) == ("",)
    plan = plan_of("T2", "MR")
    assert Plan.model_validate(json.loads(plan.model_dump_json())) == plan
    configuration = plan.configuration("main")
    findings = scan_findings(image, geometry_of(image, plan, configuration), plan, configuration)
    assert [finding.message for finding in findings if finding.kind == "modality"] == [
        "Its channel T2 is of modality CT; the training scans were MR."
    ]


def test_plans_without_the_key_are_read() -> None:
    plan = plan_of("T2", "MR")
    content = json.loads(plan.model_dump_json())
    del content["data"]["scans"]["channels"][0]["modalities"]
    assert Plan.model_validate(content).data.scans.channels[0].modalities == []
