"""What a plan keeps of its training scans, and what is read from nnU-Net's fingerprint."""

import json
from pathlib import Path

import pytest
from builders import make_plan
from facts import make_channel, make_facts

from medseg.models.nnunet.fingerprint import NAME, scan_range_of
from medseg.planning.scan_range import scan_range
from medseg.plans.file import dump_plan, parse_plan
from medseg.plans.sections.data import ScanRange


def test_ranges_are_those_of_the_cases_that_are_not_odd_and_survive_the_plan_file() -> None:
    cases = [
        make_facts("a", spacing_mm=(3.0, 1.0, 1.0), cropped_voxels=(10, 20, 30)),
        make_facts("b", [make_channel(quantiles=(-5.0, 0.0, 2.0, 4.0, 1005.0))], spacing_mm=(1.0, 2.0, 1.0)),
        make_facts("wrong", spacing_mm=(1000.0, 1000.0, 1000.0)),
    ]
    scans = scan_range(cases, {"wrong"})
    assert scans.spacing == [[1.0, 1.0, 1.0], [3.0, 2.0, 1.0]]
    assert scans.size == [[10.0, 20.0, 30.0], [30.0, 40.0, 30.0]]
    (channel,) = scans.channels
    assert channel.quantiles == [[-5.0, 0.0, 2.0, 4.0, 700.0], [100.0, 250.0, 400.0, 550.0, 1005.0]]
    assert channel.spread == [600.0, 1010.0]
    assert scan_range(cases[2:], {"wrong"}).spacing[0] == [1000.0] * 3
    plan = make_plan()
    plan.data.scans = scans
    assert parse_plan(dump_plan(plan), "a test").data.scans == scans
    assert "scans" not in make_plan().data.model_dump()


def test_the_fingerprint_of_nnunet_gives_spacings_and_sizes(tmp_path: Path) -> None:
    content = {"spacings": [[3.0, 1.0, 1.0], [1.0, 1.0, 2.0]], "shapes_after_crop": [[10, 20, 30], [40, 20, 30]]}
    (tmp_path / NAME).write_text(json.dumps(content))
    expected = {"spacing": [[1, 1, 1], [3, 1, 2]], "size": [[30, 20, 30], [40, 20, 60]], "channels": []}
    assert scan_range_of(tmp_path) == expected
    assert ScanRange.model_validate(expected).channels == []


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{}",
        "[]",
        '{"spacings": [], "shapes_after_crop": []}',
        '{"spacings": [[1, 1]], "shapes_after_crop": [[3, 3]]}',
        '{"spacings": [[1, 0, 1]], "shapes_after_crop": [[3, 3, 3]]}',
        '{"spacings": [[1, 1, 1]], "shapes_after_crop": [[3, 3, 3], [4, 4, 4]], "x": NaN}',
        '{"spacings": [[NaN, 1, 1]], "shapes_after_crop": [[3, 3, 3]]}',
        '{"spacings": "a", "shapes_after_crop": 3}',
    ],
)
def test_a_fingerprint_that_says_something_else_is_left_alone(tmp_path: Path, text: str) -> None:
    assert scan_range_of(tmp_path) is None
    (tmp_path / NAME).write_text(text)
    scans = scan_range_of(tmp_path)
    assert scans is None or ScanRange.model_validate(scans)
