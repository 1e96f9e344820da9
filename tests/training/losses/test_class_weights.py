"""Weights of structures: numbers by hand, against torch and MONAI; what they follow from; what is refused."""

from typing import Any

import pytest
import torch
from builders import make_plan, make_training
from learning.loss_cases import CLASSES, REGIONS, assert_same, draw
from torch.nn import functional

from medseg.core.errors import PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.plans.file import dump_plan, parse_plan
from medseg.plans.schema import Plan
from medseg.training.losses import voxel_sums
from medseg.training.losses.class_weights import class_weights
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.protocol import CLASS_WEIGHTS, one_hot
from medseg.training.losses.table import LOSSES, make_loss

WEIGHTS = {"softmax": [0.5, 1.0, 4.0], "sigmoid": [0.5, 3.0]}
WEIGHED = [
    pytest.param(name, labels, id=f"{name}-{labels.activation}")
    for name in sorted(LOSSES)
    for labels in (CLASSES, REGIONS)
    if not (name == "bce" and labels is CLASSES)
    and CLASS_WEIGHTS in make_loss(make_training(loss=name), labels, False).supports  # type: ignore[union-attr]
]


def weighted(
    name: Any, labels: Labels, weights: list[float] | None, batch_dice: bool = False, ignored: bool = False
) -> DeepSupervision:
    labels = labels.model_copy(update={"ignore": 9}) if ignored else labels
    loss = make_loss(make_training(loss=name), labels, batch_dice, class_weights=weights)
    return DeepSupervision(loss, labels, [[1, 1]])


def test_cross_entropy_is_that_of_torch() -> None:
    logits, target = draw(CLASSES, 6, 7, ignored=True)
    weights = WEIGHTS["softmax"]
    expected = functional.cross_entropy(logits, target.long(), torch.tensor(weights), ignore_index=IGNORE)
    assert_same(weighted("ce", CLASSES, weights, ignored=True)([logits], target), expected, logits)


def test_binary_cross_entropy_is_the_weighted_mean_over_structures() -> None:
    logits, target = draw(REGIONS, 6, 7)
    each = functional.binary_cross_entropy_with_logits(logits, one_hot(target, REGIONS), reduction="none")
    first, second = each.mean((0, 2, 3))
    assert_same(weighted("bce", REGIONS, [0.5, 3.0])([logits], target), (first + 6 * second) / 7, logits)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_dice_is_the_weighted_mean_over_structures(labels: Labels, batch_dice: bool) -> None:
    logits, target = draw(labels, 6, 7)
    weights = WEIGHTS[labels.activation]
    own = weighted({"name": "dice_ce", "cross_entropy_weight": 0.0}, labels, weights, batch_dice)([logits], target)
    assert_same(own + 1, weighted("dice", labels, weights, batch_dice)([logits], target), logits)
    probability = logits.softmax(1)[:, 1:] if labels is CLASSES else logits.sigmoid()
    mask, (low, high) = one_hot(target, labels)[:, -2:], weights[-2:]
    axes = (0, 2, 3) if batch_dice else (2, 3)
    dice = 2 * (probability * mask).sum(axes) / (probability + mask).sum(axes)
    mean = (low * dice[..., 0] + high * dice[..., 1]).mean() / (low + high)
    assert_same(own, -mean, logits)


def test_focal_loss_is_that_of_monai() -> None:
    from monai.losses import FocalLoss

    logits, target = draw(CLASSES, 6, 7)
    reference = FocalLoss(use_softmax=True, weight=[0.25, 0.5, 2.25])(logits, one_hot(target, CLASSES))
    assert_same(weighted("focal", CLASSES, [0.5, 1.0, 4.5])([logits], target), reference, logits)


@pytest.mark.parametrize(("name", "labels"), WEIGHED)
def test_equal_weights_change_nothing(name: str, labels: Labels) -> None:
    logits, target = draw(labels, 6, 7, ignored=True)
    alone = weighted(name, labels, None, ignored=True)([logits], target)
    equal = weighted(name, labels, [3.0] * labels.outputs, ignored=True)([logits], target)
    assert_same(equal, alone, logits)


@pytest.mark.parametrize(("name", "labels"), WEIGHED)
@pytest.mark.parametrize("batch_dice", [False, True])
def test_a_structure_of_more_weight_has_a_larger_share_of_the_loss(name: str, labels: Labels, batch_dice: bool) -> None:
    """Where b is wrong and the rest is right; and with a weight of 0 it costs less than with any other."""
    target = torch.zeros(2, 12, 12, dtype=torch.int16)
    target[:, 2:8, 2:8] = 1
    target[:, 9:11, 2:8] = 2
    answer = target.clone()
    answer[:, 9:11, 2:8] = 0 if labels is CLASSES else 1  # so that the region of both is right
    logits = one_hot(answer, labels) * 16 - 8
    others = [1.0] * (labels.outputs - 1)
    losses = [
        float(weighted(name, labels, [*others, weight], batch_dice)([logits], target)) for weight in (0.0, 1.0, 5.0)
    ]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize(("name", "labels"), WEIGHED)
@pytest.mark.parametrize("ignored", [False, True])
def test_partly_labelled_cases_have_the_weights_of_what_is_known(name: str, labels: Labels, ignored: bool) -> None:
    """What was not annotated teaches nothing, whatever its weight is."""
    logits, target = draw(labels, 6, 7, ignored=ignored)
    annotated = torch.tensor([[True, False], [False, False]])
    background = [1.0] if labels.activation == "softmax" else []
    low, high = (
        weighted(name, labels, [*background, 2.0, weight], ignored=ignored)([logits], target.clamp(max=1), annotated)
        for weight in (1.0, 100.0)
    )
    assert low.isfinite()
    assert_same(low, high, logits)


@pytest.mark.parametrize("partly", [None, [[True, True], [False, True]]])
def test_gradients_by_finite_differences(partly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(voxel_sums._CHUNK, "cpu", 42)
    logits, target = draw(CLASSES, 6, 7, ignored=True)
    annotated = None if partly is None else torch.tensor(partly)
    loss = weighted("dice_ce", CLASSES, [0.5, 1.0, 4.0], ignored=True)
    start = (logits.detach()[..., :3, :4].contiguous() / 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: loss([one], target[..., :3, :4], annotated), [start])


def plan_with(weights: Any, **data: Any) -> Plan:
    plan = make_plan(2, training=make_training(class_weights=weights).model_dump())
    return plan.model_copy(update={"data": plan.data.model_copy(update=data)})


def test_weights_by_name_stand_in_the_order_of_the_outputs() -> None:
    assert class_weights(plan_with(None)) is None
    assert class_weights(plan_with({"two": 4.0, "background": 0.5})) == [0.5, 1.0, 4.0]


def test_inverse_frequency_by_hand() -> None:
    """Four scans of 10 ml: one 0.5 ml in each, two 1 ml in two of them; so 36 of 40 ml are background."""
    volumes = {"one": 0.5, "two": 1.0}
    plan = plan_with(
        "inverse_frequency", structure_volume=volumes, structure_cases={"one": 4, "two": 2}, scan_volume=10
    )
    assert class_weights(plan) == pytest.approx([40 / (3 * 36), 40 / (3 * 2), 40 / (3 * 2)])
    absent = plan.model_copy(update={"data": plan.data.model_copy(update={"structure_cases": {"one": 4, "two": 0}})})
    assert class_weights(absent) == pytest.approx([40 / (3 * 38), 40 / (3 * 2), 40 / (3 * 2)])


def test_without_a_background_nothing_is_weighed_by_what_rounding_leaves_of_the_volume() -> None:
    """Three classes that fill four scans of 0.6 ml; output 0 stands for what lies beyond an image, and counts once."""
    names = ("sky", "road", "car")
    labels = {"structures": {name: value for value, name in enumerate(names)}, "background": None}
    plan = plan_with(
        "inverse_frequency", structure_volume=dict(zip(names, (0.1, 0.2, 0.3), strict=True)),
        structure_cases=dict.fromkeys(names, 4), scan_volume=0.6000000001,
    ).model_copy(update={"labels": Labels(**labels)})  # fmt: skip
    assert class_weights(plan) == pytest.approx([1, 2.4 / (3 * 0.4), 2.4 / (3 * 0.8), 2.4 / (3 * 1.2)])
    text = dump_plan(make_plan(labels=labels))
    assert class_weights(parse_plan(text, "a plan", ["training.class_weights={sky: 3}"])) == [1, 3, 1, 1]
    with pytest.raises(PlanError, match=r"class_weights names 'background'; expected some of sky, road, car"):
        parse_plan(text, "a plan", ["training.class_weights={background: 2}"])


def test_inverse_frequency_needs_a_plan_that_knows_the_volumes() -> None:
    with pytest.raises(PlanError, match="does not say how large structures and scans are") as caught:
        class_weights(plan_with("inverse_frequency"))
    assert "training.class_weights={background: 1, one: 1, two: 1}" in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("{tow: 2}", r"class_weights names 'tow'; expected some of background, one, two"),
        ("{one: 0, two: 0}", "gives every structure the weight 0"),
        ("{one: -1}", r"training\.class_weights"),
        ("inverse", r"training\.class_weights"),
    ],
)
def test_wrong_weights_are_refused_when_the_plan_is_read(weights: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_plan(dump_plan(make_plan()), "a plan", [f"training.class_weights={weights}"])


def test_a_loss_that_takes_no_weights_is_refused_with_them() -> None:
    with pytest.raises(PlanError, match=r"'generalized_dice', which takes no training\.class_weights"):
        weighted("generalized_dice", CLASSES, [1.0, 1.0, 2.0])
    with pytest.raises(PlanError, match="gives focal a `weight`"):
        weighted({"name": "focal", "weight": [1, 2, 3]}, CLASSES, [1.0, 1.0, 2.0])


def test_weights_are_left_out_of_a_plan_that_has_none() -> None:
    assert "class_weights" not in make_training().model_dump()
    assert "scan_volume" not in make_plan().data.model_dump()
