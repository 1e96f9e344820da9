"""Losses beside the default one: against MONAI's and naive formulas; ignored voxels, regions, partial labels."""

from typing import Any

import pytest
import torch
from builders import make_training

from medseg.core.labels import IGNORE, Labels
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.protocol import OneHotLoss, SummedLoss, one_hot
from medseg.training.losses.table import LOSSES, make_loss

CLASSES = Labels(structures={"a": 1, "b": 2})
REGIONS = Labels(structures={"all": [1, 2], "b": 2}, activation="sigmoid", region_values=[1, 2])
BOTH = pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
NAMES = pytest.mark.parametrize("name", sorted(LOSSES))


def ignoring(labels: Labels) -> Labels:
    return labels.model_copy(update={"ignore": 9})


def draw(labels: Labels, *shape: int, ignored: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = (torch.randn(2, labels.outputs, *shape) * 2).requires_grad_()
    return logits, torch.randint(IGNORE if ignored else 0, 3, (2, *shape), dtype=torch.int16)


def supervised(name: Any, labels: Labels, batch_dice: bool = False, total: Any = None) -> DeepSupervision:
    loss = make_loss(make_training(loss=name), labels, batch_dice)
    return DeepSupervision(loss, labels, [[1, 1]], *(() if total is None else (total,)))


def value_and_gradient(loss: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def assert_same(loss: torch.Tensor, other: torch.Tensor, logits: torch.Tensor) -> None:
    for one, two in zip(value_and_gradient(loss, logits), value_and_gradient(other, logits), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@BOTH
@pytest.mark.parametrize("batch_dice", [False, True])
def test_tversky_is_that_of_monai(labels: Labels, batch_dice: bool) -> None:
    from monai.losses import TverskyLoss

    logits, target = draw(labels, 6, 7)
    softmax = labels.activation == "softmax"
    reference = TverskyLoss(
        include_background=not softmax, softmax=softmax, sigmoid=not softmax, alpha=0.2, beta=0.6, batch=batch_dice
    )
    own = supervised({"name": "tversky", "alpha": 0.2, "beta": 0.6}, labels, batch_dice)([logits], target)
    assert_same(own + 1, reference(logits, one_hot(target, labels)), logits)  # MONAI's is 1 minus the index


@BOTH
def test_dice_with_half_of_each_error_is_tversky(labels: Labels) -> None:
    logits, target = draw(labels, 6, 7, ignored=True)
    labels = ignoring(labels)
    tversky = supervised({"name": "tversky", "alpha": 0.5, "beta": 0.5}, labels)
    dice = supervised({"name": "dice_ce", "cross_entropy_weight": 0.0}, labels)
    assert_same(tversky([logits], target), dice([logits], target), logits)


@BOTH
def test_monais_dice_and_cross_entropy_are_ours(labels: Labels) -> None:
    """Dice by MONAI's class is `dice_ce` without its cross-entropy, where voxels are ignored too."""
    logits, target = draw(labels, 6, 7, ignored=True)
    labels = ignoring(labels)
    own = supervised({"name": "dice_ce", "cross_entropy_weight": 0.0}, labels)
    assert_same(supervised("dice", labels)([logits], target), own([logits], target) + 1, logits)


def test_focal_loss_by_its_formula() -> None:
    logits, target = draw(CLASSES, 6, 7)
    probability = logits.softmax(1).gather(1, target[:, None].long())
    expected = -((1 - probability) ** 2 * probability.log()).sum() / logits.numel()  # MONAI's mean counts outputs too
    assert_same(supervised("focal", CLASSES)([logits], target), expected, logits)


@BOTH
@NAMES
@pytest.mark.parametrize("batch_dice", [False, True])
def test_ignored_voxels_change_nothing_and_have_no_gradient(name: str, labels: Labels, batch_dice: bool) -> None:
    logits, target = draw(labels, 6, 7, ignored=True)
    loss = supervised(name, ignoring(labels), batch_dice)
    value, gradient = value_and_gradient(loss([logits], target), logits)
    ignored = (target == IGNORE)[:, None].expand_as(gradient)
    assert not gradient[ignored].any()
    assert gradient[~ignored].any()
    other = torch.where(ignored, torch.randn_like(logits), logits)
    torch.testing.assert_close(loss([other], target), value)


@BOTH
@NAMES
def test_a_batch_in_which_everything_is_ignored_teaches_nothing(name: str, labels: Labels) -> None:
    logits, target = draw(labels, 4, 4)
    loss = supervised(name, ignoring(labels))
    value, gradient = value_and_gradient(loss([logits], torch.full_like(target, IGNORE)), logits)
    assert value.isfinite()
    assert not gradient.any()


@BOTH
@NAMES
def test_what_was_not_annotated_teaches_nothing(name: str, labels: Labels) -> None:
    logits, target = draw(labels, 5, 6)
    annotated = torch.tensor([[True, False], [False, False]])
    loss = supervised(name, labels)
    _, gradient = value_and_gradient(loss([logits], target.clamp(max=1), annotated), logits)
    assert gradient[0].any()
    assert not gradient[1].any()  # nothing was annotated in the second sample
    if labels.activation == "sigmoid":
        assert not gradient[0, 1].any()
        return
    with torch.no_grad():  # moving probability from the background to what was not annotated changes nothing
        together = logits[0, [0, 2]].logsumexp(0)
        moved = logits.clone()
        moved[0, 0], moved[0, 2] = together + torch.tensor(0.3).log(), together + torch.tensor(0.7).log()
    torch.testing.assert_close(
        loss([moved], target.clamp(max=1), annotated), loss([logits.detach()], target.clamp(max=1), annotated)
    )


@BOTH
@NAMES
def test_a_perfect_answer_is_better_than_a_wrong_one(name: str, labels: Labels) -> None:
    _, target = draw(labels, 6, 7)
    right = one_hot(target, labels) * 20 - 10
    loss = supervised(name, labels)
    assert float(loss([right], target)) < float(loss([right.flip(1)], target))


@NAMES
def test_half_precision_logits(name: str) -> None:
    logits, target = draw(CLASSES, 8, 8)
    rough = logits.detach().bfloat16()
    loss = supervised(name, CLASSES)([rough], target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, supervised(name, CLASSES)([rough.float()], target))


@BOTH
@NAMES
def test_over_two_processes_it_is_the_loss_of_the_whole_batch(name: str, labels: Labels) -> None:
    """One process has two samples, the other one: their tensors are added up as `Ranks.total` does it."""
    torch.manual_seed(1)
    logits = (torch.randn(3, labels.outputs, 5, 6) * 2).requires_grad_()
    target = torch.randint(0, 3, (3, 5, 6), dtype=torch.int16)
    alone = value_and_gradient(supervised(name, labels)([logits], target), logits)
    parts, told = [slice(0, 2), slice(2, 3)], []
    for part in parts:  # what each process hands to `total`
        supervised(name, labels, total=lambda sums: told.append(sums.detach()) or sums)([logits[part]], target[part])
    gradients = []
    for number, part in enumerate(parts):
        rest = told[1 - number]
        loss = supervised(name, labels, total=lambda sums, rest=rest: sums + rest)([logits[part]], target[part])
        torch.testing.assert_close(loss.detach(), alone[0])
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(sum(gradients), alone[1])


def test_deep_supervision_weights_the_resolutions_of_any_loss() -> None:
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 4, 4), dtype=torch.int16)
    outputs = [torch.randn(2, 3, 4, 4), torch.randn(2, 3, 2, 2)]
    loss = make_loss(make_training(loss="dice_focal"), CLASSES, False)
    assert isinstance(loss, OneHotLoss)
    assert not isinstance(loss, SummedLoss)
    targets = (target, target[:, 1::2, 1::2])
    parts = [loss(logits, thinned, None, None) for logits, thinned in zip(outputs, targets, strict=True)]
    both = DeepSupervision(loss, CLASSES, [[1, 1], [2, 2]])(outputs, target)
    torch.testing.assert_close(both, parts[0] * 2 / 3 + parts[1] / 3)
