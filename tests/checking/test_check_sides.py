"""A case whose left and right structures have changed places, on made-up facts and on files with a mirrored header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from facts import make_cases, make_facts

from medseg.checking.check import check_set
from medseg.checking.check_sides import check_sides
from medseg.core.labels import Labels
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.planning.extents import Extent
from medseg.planning.findings import Finding
from medseg.planning.survey import CaseFacts, survey

KIDNEYS = Labels(structures={"kidney_left": 1, "spleen": 3, "Kidney Right": 2})


def case(id: str, left: float | None, right: float | None) -> CaseFacts:
    """A case whose kidneys are at these positions; None for one that is not there."""
    centres = {1: left, 2: right}
    extents = {value: Extent((9, 9, 9), x) for value, x in centres.items() if x is not None}
    return make_facts(id, extents=extents, voxels={0: 5700, **dict.fromkeys(extents, 100)})


def found(facts: list[CaseFacts], labels: Labels | None = KIDNEYS) -> list[Finding]:
    return check_sides(facts, make_cases(facts), labels)


def usual(count: int, sign: float = 1) -> list[CaseFacts]:
    return [case(f"c{number:02d}", sign * (-50.0 - number), sign * (60.0 - number)) for number in range(count)]


@pytest.mark.parametrize("sign", [1.0, -1.0])  # which way is left is not asked: pictures are mirrored as a whole
def test_the_one_case_that_is_the_other_way_round_is_named(sign: float) -> None:
    (finding,) = found([*usual(11, sign), case("odd", sign * 55, sign * -55)])
    assert (finding.kind, finding.case, finding.severity) == ("sides", "odd", "warning")
    assert finding.file == Path("set/labels/odd.nii.gz")
    assert "kidney_left and Kidney Right lie the other way round than in 11 other cases." in finding.message


def test_those_that_agree_are_counted_and_not_the_others_that_are_odd() -> None:
    findings = found([*usual(58), *(case(f"odd{number}", 55, -55) for number in range(2))])
    assert [finding.case for finding in findings] == ["odd0", "odd1"]
    assert all("than in 58 other cases." in finding.message for finding in findings)


def test_structures_near_each_other_that_change_places_by_chance_are_not_named() -> None:
    offsets = np.random.default_rng(0).normal(2, 1.2, 100)
    near = [case(f"c{number:03d}", 0.0, offset) for number, offset in enumerate(offsets.tolist())]
    assert (offsets < -0.6).any(), "further than the share of the median"
    assert found(near) == []
    assert [finding.case for finding in found([*near, case("odd", 0.0, -9.0)])] == ["odd"]


@pytest.mark.parametrize(
    ("facts", "labels"),
    [
        (usual(12), KIDNEYS),
        (usual(12, -1), KIDNEYS),
        ([*usual(11), case("shifted", 200, 310)], KIDNEYS),
        ([*usual(11), case("together", 12, 0)], KIDNEYS),  # a kidney in the middle is no exchange
        ([*usual(11), case("one", 55, None)], KIDNEYS),
        ([*usual(10), *(case(f"odd{number}", 55, -55) for number in range(2))], KIDNEYS),  # not nearly all agree
        ([*usual(4), case("odd", 55, -55)], KIDNEYS),  # too few to tell
        ([*usual(11), case("odd", 55, -55)], None),
        ([*usual(11), case("odd", 55, -55)], Labels(structures={"kidney": 1, "spleen": 2})),
    ],
)
def test_otherwise_nothing_is_said(facts: list[CaseFacts], labels: Labels | None) -> None:
    assert found(facts, labels) == []


def test_regions_lie_where_all_of_their_voxels_are() -> None:
    labels = Labels(structures={"lung_l": [1, 3], "lung_r": [2]}, activation="sigmoid", region_values=[1, 2])
    facts = []
    for number in range(8):
        side = 1 if number < 7 else -1
        at = {1: 0.0, 3: -80.0 * side, 2: 0.0 + side}
        extents = {value: Extent((9, 9, 9), x) for value, x in at.items()}
        facts.append(make_facts(f"c{number}", extents=extents, voxels={0: 5000, 1: 100, 2: 100, 3: 100}))
    assert [finding.case for finding in found(facts, labels)] == ["c7"]


def test_files_with_exchanged_names_and_with_a_mirrored_header_are_named(
    tmp_path: Path, save_nifti: Callable[..., Path]
) -> None:
    array = np.zeros((6, 10, 20), np.uint8)
    array[2:4, 3:6, 2:5], array[2:4, 3:6, 14:17] = 1, 2
    for number in range(43):
        label = array[..., ::-1] if number == 7 else array  # the scan is mirrored and its header is not
        if number == 9:
            label = np.array([0, 2, 1], np.uint8)[array]
        noise = np.random.default_rng(number).normal(100, 10, array.shape).astype(np.float32)
        save_nifti(tmp_path / f"set/images/c{number:02d}.nii.gz", noise)
        save_nifti(tmp_path / f"set/labels/c{number:02d}.nii.gz", label)
    data = find_data(tmp_path / "set", DataOptions(structures=("kidney_left=1", "kidney_right=2")))
    findings = check_set(data, survey(data, "canonical"), "canonical")
    assert [(finding.kind, finding.case) for finding in findings if finding.kind == "sides"] == [
        ("sides", "c07"),
        ("sides", "c09"),
    ]
