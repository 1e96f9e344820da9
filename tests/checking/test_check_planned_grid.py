"""Rules on what resampling to the planned grid leaves, on made-up facts."""

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
from facts import make_cases, make_facts, plain_set

from medseg.checking.check_planned_grid import check_planned_grid
from medseg.core.labels import Labels
from medseg.planning.extents import Extent


def found(facts, labels=None, ignore=None):
    return check_planned_grid(facts, make_cases(facts), labels, ignore)


def other(id, factor, count=1):
    return [make_facts(f"{id}{number}", spacing_mm=(1 / factor,) * 3) for number in range(count)]


def test_a_plain_set_and_sets_without_spacings_have_no_findings():
    assert found(plain_set(4)) == []
    assert found([]) == []
    facts = plain_set(4, *other("odd", 1000))
    assert found([replace(case, spacing_known=False) for case in facts]) == []


@pytest.mark.parametrize("factor", [4, 10, 1000])
@pytest.mark.parametrize(("plain", "count"), [(4, 1), (4, 3), (6, 5)])
def test_cases_of_a_few_voxels_are_named_however_many_agree(factor, plain, count):
    findings = found(plain_set(plain, *other("odd", factor, count)))
    assert {finding.kind for finding in findings} == {"few voxels"}
    if count > 3:
        assert [finding.case for finding in findings] == [""]
        assert findings[0].message.startswith(f"{count} of {plain + count} cases (odd0")
    else:
        assert [finding.case for finding in findings] == [f"odd{number}" for number in range(count)]
        assert findings[0].file == Path("set/images/odd0.nii.gz")
    assert f"{10 / factor:.2g} x {20 / factor:.2g} x {30 / factor:.2g}" in findings[0].message


@pytest.mark.parametrize(("voxels", "spacing_mm", "named"), [(7, 0.1, False), (8, 0.5, False), (8, 0.4, True)])
def test_axes_that_are_short_in_the_file_are_left_alone(voxels, spacing_mm, named):
    thin = make_facts("thin", shape_voxels=(voxels, 20, 30), spacing_mm=(spacing_mm, 1.0, 1.0))
    assert [finding.case for finding in found(plain_set(6, thin))] == ["thin"] * named


@pytest.mark.parametrize("voxel_mm", [0.5, 0.6, 1.0])
@pytest.mark.parametrize("count", [1, 3, 7, 8])
def test_a_structure_below_one_voxel_of_the_grid_is_named(voxel_mm, count):
    fine = make_facts(
        "fine", spacing_mm=(voxel_mm,) * 3, shape_voxels=(40, 40, 40), voxels={0: 64000, 1: 100, 2: count, 9: 1}
    )
    facts = plain_set(4, fine)
    labels = Labels(structures={"organ": 1, "lesion": 2}, ignore=9)
    lost = count * prod(fine.spacing_mm) < 1
    for declared, ignore, name in ((labels, None, "lesion"), (None, 9, "the value 2")):
        findings = found(facts, declared, ignore)
        assert [(finding.kind, finding.case) for finding in findings] == [("lost structure", "fine")] * lost
        if lost:
            assert f"{name} has {count * voxel_mm**3:.3g} mm3" in findings[0].message
            assert findings[0].file == Path("set/labels/fine.nii.gz")


def test_a_region_counts_as_a_whole():
    voxels = {0: 64000, 1: 100, 2: 4, 3: 4}
    fine = make_facts("fine", spacing_mm=(0.5,) * 3, shape_voxels=(40, 40, 40), voxels=voxels)
    whole = Labels(structures={"organ": 1, "lesion": [2, 3]}, activation="sigmoid", region_values=[1, 2])
    assert found(plain_set(4, fine), whole) == []


@pytest.mark.parametrize(("runs", "named"), [((1, 60, 60), True), ((2, 60, 60), False), ((60, 1, 1), True)])
def test_a_structure_that_is_thinner_than_half_a_voxel_of_the_grid_is_named_however_many_voxels_it_has(runs, named):
    vessel = make_facts(
        "vessel",
        spacing_mm=(0.25,) * 3,
        shape_voxels=(80, 80, 80),
        cropped_voxels=(80, 80, 80),
        voxels={0: 508_400, 1: 3600},
        extents={1: Extent(runs, 0.0)},
    )
    facts = plain_set(4, vessel)  # all others have voxels of 1 mm
    findings = found(facts, Labels(structures={"wall": 1}))
    assert [(finding.kind, finding.case) for finding in findings] == [("lost structure", "vessel")] * named
    if named:
        axis = "zyx"[runs.index(1)]
        assert f"wall is at most 0.25 mm thick along {axis}; voxels of the grid" in findings[0].message
    # values of one region may lie beside each other
    region = replace(vessel, voxels={0: 508_400, 1: 1800, 2: 1800}, extents=dict.fromkeys((1, 2), Extent(runs, 0.0)))
    whole = Labels(structures={"wall": [1, 2], "rim": [2]}, activation="sigmoid", region_values=[1, 2])
    assert all("wall is" not in text.message for text in found(plain_set(4, region), whole))


def test_a_slice_of_a_picture_has_no_thickness():
    flat = {"shape_voxels": (1, 80, 80), "cropped_voxels": (1, 80, 80), "voxels": {0: 6000, 1: 400}}
    facts = [make_facts(f"c{number}", spacing_mm=(5.0, 1.0, 1.0), **flat) for number in range(4)]
    facts.append(make_facts("thin", spacing_mm=(1.0, 1.0, 1.0), extents={1: Extent((1, 20, 20), 0.0)}, **flat))
    assert [finding for finding in found(facts) if "thick" in finding.message] == []
