"""Rules on labels, on made-up facts."""

from dataclasses import replace

import pytest
from facts import make_cases, make_facts, plain_set

from medseg.checking.check_labels import check_labels
from medseg.core.labels import Labels

LABELS = Labels(structures={"liver": 1, "spleen": 2})


def found(facts, labels=LABELS, cases=None):
    return check_labels(facts, cases or make_cases(facts), labels)


def test_a_plain_set_has_no_findings():
    assert found(plain_set(12)) == found(plain_set(12), None) == []
    assert found([]) == found([], None) == []


def test_a_label_that_marks_nothing_is_named_or_counted():
    empty = [make_facts(f"e{number}", voxels={0: 6000}, foreground_share=0.0) for number in range(5)]
    (finding,) = found(plain_set(12, empty[0]))
    assert (finding.kind, finding.case) == ("empty label", "e0")
    (finding,) = found(plain_set(12, *empty))
    assert (finding.kind, finding.case) == ("empty label", "")
    assert finding.message.startswith("5 of 17 labels mark nothing (e0, e1")


def test_a_structure_that_nearly_all_others_have_is_missed():
    (finding,) = found(plain_set(12, make_facts("odd", voxels={0: 5900, 2: 100})))
    assert (finding.kind, finding.case) == ("missing structure", "odd")
    assert finding.message == "set/labels/odd.nii.gz does not have liver, which nearly all other cases have."


def test_a_structure_that_several_do_not_have_is_not():
    without = [make_facts(f"w{number}", voxels={0: 5900, 2: 100}) for number in range(3)]
    assert found(plain_set(12, *without)) == []


def test_a_structure_that_was_not_annotated_is_not_missed():
    facts = plain_set(12, make_facts("partly", voxels={0: 5900, 2: 100}))
    cases = make_cases(facts)
    cases["partly"] = replace(cases["partly"], annotated=("spleen",))
    assert found(facts, cases=cases) == []


def test_a_structure_that_no_case_has_is_named():
    (finding,) = found(plain_set(12), Labels(structures={"liver": 1, "spleen": 2, "kidney": 9}))
    assert (finding.kind, finding.case) == ("unused structure", "")
    assert finding.message == "No case has kidney (value 9)."


def test_a_value_that_hardly_any_case_has_is_named_where_none_is_declared():
    odd = make_facts("odd", voxels={0: 5600, 1: 200, 2: 100, 77: 100})
    (finding,) = found(plain_set(12, odd), None)
    assert (finding.kind, finding.case) == ("rare label", "odd")
    assert "holds the value 77" in finding.message
    assert found(plain_set(3, odd), None) == []
    facts = plain_set(12, odd)
    assert check_labels(facts, make_cases(facts), None, ignore=77) == []


@pytest.mark.parametrize("shares", [{"foreground_share": 0.93}, {"foreground_share": 0.6, "border_share": 0.7}])
def test_a_mask_that_covers_nearly_everything_is_named(shares):
    (finding,) = found(plain_set(12, make_facts("odd", **shares)))
    assert (finding.kind, finding.case) == ("full label", "odd")


def test_full_masks_are_usual_in_some():
    facts = [make_facts(f"c{number}", foreground_share=0.85, border_share=0.8) for number in range(12)]
    assert found(facts) == []


def test_a_label_where_the_image_is_empty_is_named():
    odd = make_facts("odd", outside_share=0.4)
    odd = replace(odd, content=replace(odd.content, channels=(replace(odd.content.channels[0], flat=-1024.0),)))
    (finding,) = found(plain_set(12, odd))
    assert (finding.kind, finding.case) == ("label outside", "odd")
    assert "40% of what it marks lies where the scan is empty (its most frequent value, -1024)" in finding.message
    lungs = [replace(odd, id=f"l{number}") for number in range(4)]
    assert found(plain_set(12, *lungs)) == []  # air is marked in this set
