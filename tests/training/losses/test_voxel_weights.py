"""Weights of voxels in the loss: a voxel of weight 2 is two voxels, one of weight 0 is none."""

from typing import Any

import pytest
import torch
from builders import make_training
from learning import loss_cases
from learning.loss_cases import ignoring
from torch.nn import functional

from medseg.core.errors import PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.training.losses import voxel_sums
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.protocol import VOXEL_WEIGHTS
from medseg.training.losses.table import LOSSES, make_loss

CLASSES, REGIONS = ignoring(loss_cases.CLASSES), ignoring(loss_cases.REGIONS)
NAMES = ["bce", "ce", "dice_ce", "focal_tversky", "tversky"]
EVERY = pytest.mark.parametrize(
    ("name", "labels"),
    [
        pytest.param(name, labels, id=f"{name}-{labels.activation}")
        for name in NAMES
        for labels in (CLASSES, REGIONS)
        if not (name == "bce" and labels is CLASSES)
    ],
)


def supervised(name: Any, labels: Labels, batch_dice: bool = False, scales: Any = ((1, 1),)) -> DeepSupervision:
    loss = make_loss(make_training(loss=name), labels, batch_dice, voxel_weights=True)
    return DeepSupervision(loss, labels, scales)


def draw(labels: Labels) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and whole weights from 0 to 3, of two samples of 1 x 20 voxels."""
    torch.manual_seed(0)
    logits = torch.randn(2, labels.outputs, 1, 20, requires_grad=True)
    return logits, torch.randint(IGNORE, 3, (2, 1, 20), dtype=torch.int16), torch.randint(0, 4, (2, 1, 20)).float()


def test_the_losses_that_take_them_are_those_made_of_sums() -> None:
    able = {
        name
        for name in LOSSES
        if VOXEL_WEIGHTS in make_loss(make_training(loss=name), REGIONS, False).supports  # type: ignore[union-attr]
    }
    assert able == {*NAMES}
    with pytest.raises(PlanError, match="'focal', which cannot be trained with weight maps of cases"):
        supervised("focal", CLASSES)
    with pytest.raises(PlanError, match="'cldice', which cannot be trained with weight maps of cases"):
        supervised({"sum": ["dice_ce", "cldice"]}, CLASSES)


@EVERY
@pytest.mark.parametrize("partly", [None, [True, False]])
def test_a_weight_is_a_number_of_voxels(name: str, labels: Labels, partly: list[bool] | None) -> None:
    """Sample by sample, as repeated voxels make rows of other lengths."""
    every, targets, weights = draw(labels)
    annotated = None if partly is None else torch.tensor([partly])
    loss = supervised(name, labels)
    for number in range(2):
        logits, target, weight = every[[number]], targets[[number]], weights[[number]]
        counts = weight[0, 0].long()
        repeated = logits.repeat_interleave(counts, 3), target.repeat_interleave(counts, 2)
        weighted = loss([logits], target, annotated, None, weight)
        copied = loss([repeated[0]], repeated[1], annotated)
        torch.testing.assert_close(weighted, copied)
        gradients = [torch.autograd.grad(value, every, retain_graph=True)[0] for value in (weighted, copied)]
        torch.testing.assert_close(*gradients)


@EVERY
@pytest.mark.parametrize("batch_dice", [False, True])
def test_weights_of_1_change_nothing_and_of_0_are_ignored(name: str, labels: Labels, batch_dice: bool) -> None:
    logits, target, _ = draw(labels)
    loss = supervised(name, labels, batch_dice)
    torch.testing.assert_close(loss([logits], target, None, None, torch.ones(2, 1, 20)), loss([logits], target))
    weights = torch.ones(2, 1, 20)
    weights[..., 5:12] = 0
    hidden = torch.where(weights > 0, target, IGNORE).to(torch.int16)
    torch.testing.assert_close(loss([logits], target, None, None, weights), loss([logits], hidden))
    nothing = loss([logits], target, None, None, weights * 0)
    assert nothing.isfinite()
    assert not torch.autograd.grad(nothing, logits)[0].any()


def test_cross_entropy_by_hand() -> None:
    logits, target, weights = draw(CLASSES)
    each = functional.cross_entropy(logits, target.long(), ignore_index=IGNORE, reduction="none")
    expected = (each * weights).sum() / (weights * (target != IGNORE)).sum()
    torch.testing.assert_close(supervised("ce", CLASSES)([logits], target, None, None, weights), expected)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_gradients_by_finite_differences(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(voxel_sums._CHUNK, "cpu", 42)
    logits, target, weights = draw(labels)
    start = logits.detach().double().requires_grad_()
    loss = supervised("dice_ce", labels)
    assert torch.autograd.gradcheck(lambda one: loss([one], target, None, None, weights + 0.3), [start])


def test_coarser_resolutions_have_the_weights_of_their_labels() -> None:
    torch.manual_seed(0)
    target, weights = torch.randint(0, 3, (2, 8, 8), dtype=torch.int16), torch.rand(2, 8, 8) * 3
    outputs = [torch.randn(2, 3, size, size) for size in (8, 4)]
    fine, coarse = (
        supervised("dice_ce", CLASSES)([logits], labels, None, None, thinned)
        for logits, labels, thinned in zip(
            outputs, (target, target[:, 1::2, 1::2]), (weights, weights[:, 1::2, 1::2]), strict=True
        )
    )
    both = supervised("dice_ce", CLASSES, scales=[[1, 1], [2, 2]])(outputs, target, None, None, weights)
    torch.testing.assert_close(both, fine * 2 / 3 + coarse / 3)
