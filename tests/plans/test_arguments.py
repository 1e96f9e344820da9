"""Arguments that a plan hands on: types that a class declares, in every way of writing them."""

from typing import Any, Optional

import pytest

from medseg.core.errors import PlanError
from medseg.plans.arguments import arguments_of, check_arguments, check_shares, check_sizes, declared, wrong_type


def annotated(
    flag: bool = True,
    count: int = 1,
    share: Optional[float] = None,  # noqa: UP045
    name: "str | None" = None,
    many=(1, 2),
    deep: "int | None" = 3,
):
    """A class of another library may be declared in all of these ways."""


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("flag", "no", "true or false"),
        ("flag", 2, "true or false"),
        ("flag", None, "true or false"),
        ("flag", [], "true or false"),
        ("count", "3", "a whole number"),
        ("count", 1.5, "a whole number"),
        ("count", True, "a whole number"),
        ("share", "half", "a number"),
        ("name", 3, "text"),
        ("deep", "3", "a whole number"),
    ],
)
def test_what_python_would_take_for_something_else_is_told(key: str, value: Any, expected: str) -> None:
    assert wrong_type(value, arguments_of(annotated)[key]) == f"is {value!r}; expected {expected}"
    with pytest.raises(PlanError, match=f"network.arguments do not fit net: {key} is .*; expected {expected}"):
        check_arguments("net", {key: value}, arguments_of(annotated))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flag", False),
        ("flag", 1),
        ("count", 3),
        ("share", 1),
        ("share", None),
        ("name", None),
        ("many", "anything"),
        ("deep", None),
    ],
)
def test_what_fits_is_handed_on(key: str, value: Any) -> None:
    assert wrong_type(value, arguments_of(annotated)[key]) == ""
    check_arguments("net", {key: value}, arguments_of(annotated))


def test_declarations_stand_in_messages() -> None:
    assert declared({"count": "x", "other": 1}, arguments_of(annotated)) == "declared as count: int = 1"
    assert declared({}, arguments_of(annotated)) == ""


@pytest.mark.parametrize("value", ["wide", 8, [8, 8], [8, 8, 8.5], [8, 8, True], None])
def test_sizes_are_a_list_of_whole_numbers(value: Any) -> None:
    with pytest.raises(PlanError, match="expected a list of 3 whole numbers"):
        check_sizes("net", "features", value, 3)
    check_sizes("net", "features", (8, 16, 32), 3)


@pytest.mark.parametrize("value", [0.3, [0.1], [0.1, 1.0], [-0.1, 0], ["a", 0]])
def test_shares_are_below_one(value: Any) -> None:
    with pytest.raises(PlanError, match="expected a list of 2 numbers of at least 0 and below 1"):
        check_shares("net", "dropout", value, 2)
    check_shares("net", "dropout", [0, 0.3], 2)
