"""Sums of losses: their values, weights that change with the schedule, and what is refused."""

from typing import Any

import pytest
import torch
from builders import make_plan, make_training

from medseg.core.errors import PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.plans.file import dump_plan, parse_plan
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.sum import LossSum
from medseg.training.losses.table import make_loss, register_loss

CLASSES = Labels(structures={"a": 1, "b": 2}, ignore=9)
RISING = {"sum": ["dice_ce", {"name": "boundary", "weight": [0.0, 0.5]}]}


def supervised(name: Any, total: Any = None) -> DeepSupervision:
    loss = make_loss(make_training(loss=name), CLASSES, False)
    return DeepSupervision(loss, CLASSES, [[1, 1], [2, 2]], *(() if total is None else (total,)))


def draw() -> tuple[list[torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, size, size) for size in (8, 4)], torch.randint(IGNORE, 3, (2, 8, 8), dtype=torch.int16)


def test_a_sum_is_the_weighted_sum_of_its_losses() -> None:
    outputs, target = draw()
    parts = [{"name": "tversky", "alpha": 0.2}, {"name": "focal", "gamma": 1.0, "weight": 0.25}, "cldice"]
    first, second, third = (
        supervised(name)(outputs, target)
        for name in ({"name": "tversky", "alpha": 0.2}, {"name": "focal", "gamma": 1.0}, "cldice")
    )
    torch.testing.assert_close(supervised({"sum": parts})(outputs, target), first + 0.25 * second + third)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5)])
def test_a_weight_rises_with_the_schedule(progress: float, weight: float) -> None:
    outputs, target = draw()
    both = supervised(RISING)
    both(outputs, target)  # the weights are on the device before they change
    both.advance(progress)
    expected = supervised("dice_ce")(outputs, target) + weight * supervised("boundary")(outputs, target)
    torch.testing.assert_close(both(outputs, target), expected)


def test_weights_stay_in_the_tensor_that_a_recorded_step_reads() -> None:
    loss = make_loss(make_training(loss=RISING), CLASSES, False)
    assert isinstance(loss, LossSum)
    tensor = loss.weights_on(torch.device("cpu"))
    loss.advance(0.5)
    assert loss.weights_on(torch.device("cpu")) is tensor
    assert tensor.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("loss", [RISING, {"sum": ["dice", {"name": "focal", "weight": 0.5, "gamma": 2}]}])
def test_a_sum_is_written_and_read_as_it_was_said(loss: Any) -> None:
    plan = make_plan(training=make_training(loss=loss).model_dump())
    assert plan.training.model_dump(mode="json")["loss"] == loss
    assert parse_plan(dump_plan(plan), "a plan").training == plan.training


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("{sum: []}", "the sum of losses is empty"),
        ("{sum: [dice], gamma: 2}", "a sum of losses has no key 'gamma'"),
        ("{sum: [{weight: 2}]}", r"training\.loss\.sum"),
        ("{sum: [{name: dice, weight: -1}]}", r"training\.loss\.sum"),
        ("{sum: [{name: dice, weight: [0, 1, 2]}]}", r"training\.loss\.sum"),
    ],
)
def test_what_is_no_sum_is_refused_when_the_plan_is_read(loss: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_plan(dump_plan(make_plan()), "a plan", [f"training.loss={loss}"])


def test_each_part_is_checked_like_a_loss_alone() -> None:
    with pytest.raises(PlanError, match="'focl', and there is no such loss"):
        make_loss(make_training(loss={"sum": ["dice", "focl"]}), CLASSES, False)
    with pytest.raises(PlanError, match="do not fit tversky"):
        make_loss(make_training(loss={"sum": ["dice", {"name": "tversky", "alpah": 1}]}), CLASSES, False)
    with pytest.raises(PlanError, match="medseg has a loss named 'sum'"):
        register_loss("sum", lambda labels, batch_dice: None)  # type: ignore[arg-type, return-value]
