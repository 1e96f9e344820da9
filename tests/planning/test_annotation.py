"""Which structures were annotated where: masks, checks and counts."""

from pathlib import Path

import pytest

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.planning.annotation import (
    annotated_mask,
    annotation_counts,
    check_annotated,
    describe_annotation,
    present_and_annotated,
)

ORGANS = Labels(structures={"spleen": 3, "liver": 1})  # outputs go by value: liver, spleen


def case(name: str, *annotated: str) -> Case:
    return Case(name, name, (Path(name),), Path(name), annotated or None)


def test_the_mask_is_in_the_order_of_the_outputs():
    mask = annotated_mask(case("a", "liver"), ORGANS)
    assert mask is not None
    assert dict(zip(ORGANS.names, mask.tolist(), strict=True)) == {"liver": True, "spleen": False}
    assert annotated_mask(case("a"), ORGANS) is None
    assert annotated_mask(case("a", "spleen", "liver"), ORGANS) is None


def test_cases_that_can_be_trained_on():
    cases = [case("a", "liver"), case("b", "spleen"), case("c")]
    check_annotated(cases, ORGANS)
    assert annotation_counts(cases, ORGANS) == {"liver": 2, "spleen": 2}
    check_annotated([], ORGANS)


def test_a_name_that_no_structure_has():
    with pytest.raises(DataError, match=r"b says that Liver was annotated; the structures are liver, spleen") as caught:
        check_annotated([case("a"), case("b", "Liver")], ORGANS)
    assert "`annotated`" in str(caught.value)


def test_a_structure_that_nobody_annotated_is_named():
    with pytest.raises(DataError, match="spleen was annotated in none of the cases"):
        check_annotated([case("a", "liver"), case("b", "liver")], ORGANS)
    many = Labels(structures={f"s{number}": number for number in range(1, 8)})
    with pytest.raises(DataError, match="s2, s3, s4 and 3 more was annotated in none of the cases"):
        check_annotated([case("a", "s1")], many)


def test_what_is_said_about_partly_labelled_cases():
    assert describe_annotation([case("a"), case("b")], ORGANS) == []
    assert describe_annotation([case("a", "liver"), case("b")], ORGANS) == [
        "partly labelled, not annotated in every training case: spleen in 1 of 2"
    ]


def test_present_structures_that_were_not_annotated_do_not_count():
    present = {"a": {"liver", "spleen"}, "b": {"spleen"}, "other": {"liver"}}
    cases = [case("a", "liver"), case("b"), case("c")]
    assert present_and_annotated(present, cases) == {"a": {"liver"}, "b": {"spleen"}, "c": set()}
