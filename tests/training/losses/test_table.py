"""Losses by name: made from the plan, refused where they do not fit, registered from Python."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from builders import make_plan, make_training
from torch import nn

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.plans.file import dump_plan, parse_plan
from medseg.training.losses.dice_ce import DiceCE
from medseg.training.losses.table import LOSSES, make_loss, register_loss
from medseg.training.losses.tversky import Tversky

CLASSES = Labels(structures={"a": 1, "b": 2})
REGIONS = Labels(structures={"all": [1, 2], "b": 2}, activation="sigmoid", region_values=[1, 2])
IGNORING = Labels(structures={"a": 1, "b": 2}, ignore=9)


class Simple:
    """A loss of one's own that says nothing of what it supports."""

    def __init__(self, labels: Labels, batch_dice: bool, power: float = 2.0) -> None:
        self.power = power

    def __call__(self, logits: torch.Tensor, target: torch.Tensor, annotated: Any, weights: Any) -> torch.Tensor:
        return logits.float().abs().pow(self.power).mean()


@pytest.fixture
def simple() -> Iterator[str]:
    register_loss("simple", Simple)
    yield "simple"
    del LOSSES["simple"]


def test_a_plan_that_names_no_loss_means_dice_and_cross_entropy_with_its_weights() -> None:
    loss = make_loss(make_training(dice_weight=0.5, cross_entropy_weight=2.0), CLASSES, True)
    assert isinstance(loss, DiceCE)
    assert (loss.overlap_weight, loss.cross_entropy_weight, loss.batch_dice) == (0.5, 2.0, True)


@pytest.mark.parametrize(
    "training",
    [
        {"dice_weight": 0.0, "cross_entropy_weight": 0.0},
        {"loss": {"name": "dice_ce", "dice_weight": 0.0, "cross_entropy_weight": 0}},
        {"loss": {"sum": [{"name": "dice_ce", "weight": 0}]}},
    ],
)
def test_a_loss_of_which_nothing_can_be_learnt_is_refused(training: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="nothing can be learnt"):
        make_loss(make_training(**training), CLASSES, True)


def test_arguments_stand_beside_the_name() -> None:
    loss = make_loss(make_training(loss={"name": "tversky", "alpha": 0.2}), CLASSES, False)
    assert isinstance(loss, Tversky)
    assert (loss.alpha, loss.beta) == (0.2, 0.7)
    own = make_loss(make_training(loss={"name": "dice_ce", "dice_weight": 3.0}), CLASSES, False)
    assert isinstance(own, DiceCE)
    assert (own.overlap_weight, own.cross_entropy_weight) == (3.0, 1.0)


@pytest.mark.parametrize("loss", ["tversky", {"name": "tversky", "alpha": 0.3}])
def test_the_loss_is_written_and_read_as_it_was_said(loss: Any) -> None:
    plan = make_plan(training=make_training(loss=loss).model_dump())
    assert plan.training.model_dump(mode="json")["loss"] == loss
    again = parse_plan(dump_plan(plan), "a plan")
    assert again.training == plan.training
    assert parse_plan(dump_plan(make_plan()), "a plan", [f"training.loss={loss}"]).training == plan.training


def test_the_default_is_not_written() -> None:
    assert "loss" not in make_training().model_dump()
    assert make_training(loss="dice_ce") == make_training()


def test_an_unknown_name_is_answered_with_the_known_ones_and_how_to_add_one() -> None:
    with pytest.raises(PlanError, match=r"'tverski'.*there are dice_ce, ce, bce") as caught:
        make_loss(make_training(loss="tverski"), CLASSES, False)
    assert "register_loss('tverski'" in str(caught.value)


def test_arguments_that_do_not_fit_are_named_with_those_that_do() -> None:
    with pytest.raises(PlanError, match=r"do not fit tversky: .*'alpah'") as caught:
        make_loss(make_training(loss={"name": "tversky", "alpah": 0.3}), CLASSES, False)
    assert "Its arguments are: alpha, beta, cross_entropy_weight." in str(caught.value)
    assert "did you mean 'alpha'?" in str(caught.value)
    with pytest.raises(PlanError, match=r"do not fit dice_focal: .*'gama'; did you mean 'gamma'"):
        make_loss(make_training(loss={"name": "dice_focal", "gama": 1}), CLASSES, False)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"name": "tversky", "alpha": -0.3}, "alpha is -0.3; expected no number below 0"),
        ({"name": "tversky", "alpha": 0, "beta": 0}, "alpha is 0 and beta 0: no error would cost anything"),
        ({"name": "tversky", "beta": "much"}, "beta is 'much'; expected a number"),
        ({"name": "focal", "gamma": -2}, "gamma is -2; expected no number below 0"),
        ({"name": "focal", "alpha": 25}, "alpha is 25; expected a number from 0 to 1"),
        ({"name": "focal", "weight": [1, -1]}, r"weight is \[1, -1\]; expected no number below 0"),
        ({"name": "dice", "include_background": "no"}, "include_background is 'no'; expected true or false"),
        ({"name": "generalized_dice", "include_background": "no"}, "include_background is 'no'; expected true or"),
        ({"name": "dice", "sigmoid": True}, "it has no argument 'sigmoid'"),
        ({"name": "focal", "ignore_index": 255}, "it has no argument 'ignore_index'"),
        ({"name": "dice_ce", "dice_weight": -1.0}, "dice_weight is -1.0; expected no number below 0"),
        ({"name": "cldice", "iterations": 2.5}, "iterations is 2.5; expected a whole number"),
    ],
)
def test_values_that_a_loss_would_take_for_something_else_are_refused(loss: Any, told: str) -> None:
    with pytest.raises(PlanError, match=f"do not fit {loss['name']}: .*{told}"):
        make_loss(make_training(loss=loss), CLASSES, False)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("FocalLoss", "focal"), ("dice_loss", "dice"), ("cl_dice", "cldice"), ("CrossEntropyLoss", "ce")],
)
def test_a_name_of_another_library_leads_to_ours(name: str, meant: str) -> None:
    with pytest.raises(PlanError, match=f"Did you mean '{meant}'"):
        make_loss(make_training(loss=name), CLASSES, False)


def test_a_class_that_is_made_otherwise_is_told_how_a_loss_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "plain", nn.CrossEntropyLoss)
    with pytest.raises(PlanError, match=r"YourClass\(labels, batch_dice, \*\*arguments\)"):
        make_loss(make_training(loss={"name": "plain", "alpha": 1}), CLASSES, False)


@pytest.mark.parametrize(
    ("labels", "partly", "what"),
    [(REGIONS, False, "regions"), (IGNORING, False, "ignore label"), (CLASSES, True, "partly labelled cases")],
)
def test_a_loss_is_refused_for_labels_that_it_does_not_say_it_supports(
    simple: str, labels: Labels, partly: bool, what: str
) -> None:
    training = make_training(loss={"name": simple, "power": 1.0})
    assert isinstance(make_loss(training, CLASSES, False), Simple)
    with pytest.raises(PlanError, match=f"'simple', which cannot be trained with {what}"):
        make_loss(training, labels, False, partly)
    for name in LOSSES.keys() - {simple, "bce"}:  # bce is for sigmoid alone
        make_loss(make_training(loss=name), labels, False, partly)


def test_names_of_medsegs_own_losses_are_taken(simple: str) -> None:
    register_loss(simple, Simple)  # as when the cell of a notebook runs again
    with pytest.raises(PlanError, match="medseg has a loss named 'tversky'"):
        register_loss("tversky", Simple)
