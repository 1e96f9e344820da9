"""Which differences between two plans are seen, and which of them a started run refuses."""

from __future__ import annotations

import pytest
from builders import make_plan

from medseg.core.errors import PlanError
from medseg.plans.changes import Change, check_changes, differences
from medseg.plans.file import dump_plan, parse_plan


def test_differences_are_named_by_key_with_both_values() -> None:
    plan = make_plan()
    other = parse_plan(
        dump_plan(plan), "the plan", ["training.learning_rate=0.5", "configurations.main.batch_size=3", "name=other"]
    )
    assert differences(plan, plan, "main") == []
    assert differences(plan, other, "main") == [
        Change("training.learning_rate", 0.01, 0.5),
        Change("configurations.main.batch_size", 2, 3),
    ]
    assert [change.key for change in differences(plan, other, "another")] == ["training.learning_rate"]


def test_the_order_of_outputs_is_a_difference_and_no_run_takes_it() -> None:
    first, second = (
        make_plan(labels={"structures": structures, "activation": "sigmoid", "region_values": [*structures.values()]})
        for structures in ({"one": 1, "two": 2}, {"two": 2, "one": 1})
    )
    changes = differences(first, second, "main")
    assert [change.key for change in changes] == ["labels.region_values", "labels.structures, in order"]
    with pytest.raises(PlanError, match=r"structures, in order: .*one.*two.* -> .*two.*one"):
        check_changes(changes, "main")


@pytest.mark.parametrize("key", ["training.learning_rate", "inference.mirror", "configurations.2d.batch_size"])
def test_a_started_run_takes_what_fits_its_weights_and_cases(key: str) -> None:
    check_changes([Change(key, 1, 2)], "2d")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("training.optimizer", "does not fit another one"),
        ("training.steps", "--extend"),
        ("configurations.2d.network.features", "do not fit another network"),
        ("configurations.2d.spacing_mm", "made for it"),
        ("configurations.3d_fullres.batch_size", "made for it"),
        ("labels.ignore", "made for it"),
    ],
)
def test_a_started_run_refuses_the_rest_with_a_reason(key: str, reason: str) -> None:
    with pytest.raises(PlanError, match=rf"{key}: 1 -> 2 \(.*{reason}"):
        check_changes([Change(key, 1, 2)], "2d")


def test_averaging_can_be_changed_but_neither_begun_nor_ended() -> None:
    check_changes([Change("training.average_weights", 0.9, 0.99)], "2d")
    for old, new in ((0, 0.99), (0.99, 0)):
        with pytest.raises(PlanError, match="averaged its weights"):
            check_changes([Change("training.average_weights", old, new)], "2d")
