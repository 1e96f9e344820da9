"""Rules on grids, on made-up facts."""

from dataclasses import replace
from pathlib import Path

import pytest
from facts import make_cases, make_facts, plain_set

from medseg.checking.check_grids import check_grids, odd_units


def found(facts, stored=False):
    return check_grids(facts, make_cases(facts), stored)


def test_a_plain_set_has_no_findings():
    assert found(plain_set(12)) == []
    assert found([]) == []


@pytest.mark.parametrize("spacing", [(5.0, 1.0, 1.0), (10.0, 10.0, 10.0), (1.0, 0.1, 1.0)])
def test_a_spacing_far_from_the_rest_is_named(spacing):
    (finding,) = found(plain_set(12, make_facts("odd", spacing_mm=spacing)))
    assert (finding.kind, finding.case, finding.file) == ("spacing", "odd", Path("set/images/odd.nii.gz"))
    assert "others have 1 along" in finding.message
    assert finding.severity == "warning"


def test_scans_larger_than_any_scanner_are_named_however_many_there_are():
    facts = [make_facts(f"c{number}", spacing_mm=(1000.0, 1000.0, 1000.0)) for number in range(3)]
    findings = found(facts)  # all in metres
    assert [(finding.kind, finding.case) for finding in findings] == [("spacing", case.id) for case in facts]
    assert "is 10 x 20 x 30 metres large (z, y, x)" in findings[0].message
    assert found([replace(case, spacing_known=False) for case in facts]) == []


def test_what_varies_in_the_set_may_vary():
    facts = [
        make_facts(f"c{number}", spacing_mm=(1.0 + 0.5 * number, 0.7 + 0.02 * number, 0.7 + 0.02 * number))
        for number in range(12)
    ]
    assert found(facts) == []


def test_spacings_that_are_unknown_and_axes_of_one_voxel_are_not_compared():
    odd = make_facts("odd", spacing_mm=(9.0, 1.0, 1.0))
    assert found([replace(case, spacing_known=False) for case in plain_set(12, odd)]) == []
    assert found([replace(case, shape_voxels=(1, 20, 30)) for case in plain_set(12, odd)]) == []


def test_a_size_far_from_the_rest_is_named():
    (finding,) = found(plain_set(12, make_facts("single", shape_voxels=(1, 20, 30))))
    assert (finding.kind, finding.case) == ("shape", "single")
    assert finding.message == (
        "set/images/single.nii.gz has a size of 1 x 20 x 30 voxels (z, y, x); others have 10 along z."
    )


def test_the_order_of_axes_matters_only_where_it_is_kept():
    facts = plain_set(12, make_facts("lps", axes="LPS"))
    assert found(facts) == []
    (finding,) = found(facts, stored=True)
    assert (finding.kind, finding.case) == ("orientation", "")
    assert "RAS in 12 (such as c00), LPS in 1 (such as lps)" in finding.message


@pytest.mark.parametrize(("few", "many"), [(True, False), (False, True)])
def test_the_few_whose_units_differ_are_left_out(few, many):
    facts = [replace(case, spacing_known=many) for case in plain_set(12)]
    facts.append(make_facts("odd", spacing_known=few))
    (finding,) = odd_units(facts, make_cases(facts))
    assert (finding.kind, finding.case, finding.severity) == ("units", "odd", "error")
    assert odd_units(facts[9:], make_cases(facts)) == []  # one of four is not a small part


def test_odd_headers_are_named_once_each_or_once_for_all():
    note = "set/images/odd.nii.gz has a qform and a sform that disagree by 20 voxels at a corner; its sform is used"
    (finding,) = found(plain_set(12, make_facts("odd", notes=(note,))))
    assert (finding.kind, finding.case, finding.file) == ("two affines", "odd", Path("set/images/odd.nii.gz"))
    assert finding.message == f"{note}."
    every = [
        make_facts(f"c{number}", notes=(f"set/images/c{number}.nii.gz has neither sform nor qform",))
        for number in range(12)
    ]
    (finding,) = found(every)
    assert (finding.kind, finding.case) == ("odd header", "")
    assert finding.message.endswith("c0.nii.gz has neither sform nor qform. So do those of 11 other cases.")


@pytest.mark.parametrize("factor", [0.001, 0.1, 10.0, 1000.0])
@pytest.mark.parametrize("wrong", [1, 3, 5])
def test_cases_in_another_unit_are_named_however_many_agree(factor, wrong):
    odd = [make_facts(f"odd{number}", spacing_mm=(factor,) * 3) for number in range(wrong)]
    findings = found(plain_set(6, *odd))
    assert {finding.case for finding in findings if finding.kind == "spacing"} == {case.id for case in odd}


@pytest.mark.parametrize("factor", [0.001, 0.1, 1.0, 8.0, 10.0, 1000.0])
def test_of_two_cases_in_different_units_both_are_named(factor):
    facts = [*plain_set(1), make_facts("odd", spacing_mm=(factor,) * 3)]
    findings = [finding for finding in found(facts) if finding.kind == "spacing"]
    apart = not 1 / 9 < factor < 9
    assert [finding.case for finding in findings] == ["c00", "odd"] * apart
    if apart:
        shown = " x ".join([f"{factor:.4g}"] * 3)
        assert f"has a spacing of 1 x 1 x 1 mm (z, y, x), ten times or more from the {shown} of the other" in str(
            findings[0]
        )
