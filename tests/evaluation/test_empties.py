"""Policies for empty structures."""

import pytest

from medseg.evaluation.empties import POLICIES


def test_what_is_defined_stays():
    for policy in POLICIES.values():
        assert policy.overlap(0.7, "") == 0.7
        assert policy.distance(3.0, "", 99.0) == 3.0


@pytest.mark.parametrize(
    ("name", "both", "one"),
    [
        ("default", (None, None), (0, None)),
        ("brats", (1, 0), (0, 99)),
        ("isles", (1, None), (0, None)),
    ],
)
def test_what_stands_in(name, both, one):
    policy = POLICIES[name]
    assert policy.name == name
    assert (policy.overlap(None, "both"), policy.distance(None, "both", 99.0)) == both
    for empty in ("reference", "prediction"):
        assert (policy.overlap(0.0, empty), policy.distance(None, empty, 99.0)) == one


def test_policies_in_words():
    assert POLICIES["default"].describe() == (
        "empty structures (default): both sides empty: not in the mean, counted; "
        "one side empty: overlaps 0, distances not in the mean, counted"
    )
    assert POLICIES["brats"].describe() == (
        "empty structures (brats): both sides empty: overlaps 1, distances 0 mm; "
        "one side empty: overlaps 0, distances the diagonal of the image"
    )
