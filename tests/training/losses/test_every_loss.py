"""The contract of losses, over every row of the table: what each one has to keep, whatever its formula is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_plan, make_sample, make_training, network_values
from learning.loss_cases import CLASSES, REGIONS, draw, ignoring, supervised, value_and_gradient

from medseg.core.labels import IGNORE, Labels
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Plan
from medseg.training.length.course import Course
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.dice_ce import OverlapLoss
from medseg.training.losses.protocol import one_hot
from medseg.training.losses.table import LOSSES, make_loss
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

EVERY = pytest.mark.parametrize(
    ("name", "labels"),
    [
        pytest.param(name, labels, id=f"{name}-{labels.activation}")
        for name in sorted(LOSSES)
        for labels in (CLASSES, REGIONS)
        if not (name == "bce" and labels is CLASSES)  # refused, see test_other_losses
    ],
)


def perfect(target: torch.Tensor, labels: Labels, certainty: float = 30.0) -> torch.Tensor:
    return one_hot(target, labels) * 2 * certainty - certainty


def blocks() -> torch.Tensor:
    """Two samples with a block of each structure."""
    target = torch.zeros(2, 12, 12, dtype=torch.int16)
    target[:, 2:8, 2:8] = 1
    target[0, 5:10, 6:10] = 2
    target[1, 0:3, 9:12] = 2
    return target


@EVERY
@pytest.mark.parametrize("batch_dice", [False, True])
def test_a_perfect_answer_has_the_smallest_loss(name: str, labels: Labels, batch_dice: bool) -> None:
    """0, or -1 where overlaps are subtracted as in nnU-Net."""
    target = blocks()
    loss = make_loss(make_training(loss=name), labels, batch_dice)
    lowest = -loss.overlap_weight if isinstance(loss, OverlapLoss) else 0.0
    every = DeepSupervision(loss, labels, [[1, 1]])
    assert float(every([perfect(target, labels)], target)) == pytest.approx(lowest, abs=1e-4)
    torch.manual_seed(0)
    for certainty in (0.1, 3.0):
        assert float(every([torch.randn(2, labels.outputs, 12, 12) * certainty], target)) > lowest + 0.01


@EVERY
def test_it_falls_when_the_prediction_moves_to_the_target(name: str, labels: Labels) -> None:
    torch.manual_seed(0)
    target, noise = blocks(), torch.randn(2, labels.outputs, 12, 12)
    loss = supervised(name, labels)
    losses = [float(loss([noise + perfect(target, labels, share)], target)) for share in (-4.0, 0.0, 1.0, 2.0, 4.0, 8)]
    assert losses == sorted(losses, reverse=True)
    logits = noise.clone().requires_grad_()
    value, gradient = value_and_gradient(loss([logits], target), logits)
    assert float(loss([noise - 0.01 * gradient / gradient.norm()], target)) < float(value)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_numbers(name: str, labels: Labels, dtype: torch.dtype) -> None:
    """For answers that are undecided, right, wrong, and extreme; with structures present, absent and everywhere."""
    loss = supervised(name, labels)
    for target in (blocks(), torch.zeros(2, 12, 12, dtype=torch.int16), torch.full((2, 12, 12), 2, dtype=torch.int16)):
        right = perfect(target, labels)
        for answer in (right * 0, right, -right, right * 1000, right * -1000):
            logits = answer.to(dtype).requires_grad_()
            value, gradient = value_and_gradient(loss([logits], target), logits)
            assert value.isfinite()
            assert gradient.dtype == dtype
            assert gradient.isfinite().all()


@EVERY
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("present", [1, 0], ids=["another structure present", "nothing present"])
def test_a_false_positive_of_an_absent_structure_costs(
    name: str, labels: Labels, batch_dice: bool, present: int
) -> None:
    target = blocks().clamp(max=present)
    answer = target.clone()
    answer[:, 10:12, 0:6] = 2
    loss = supervised(name, labels, batch_dice)
    right, wrong = (float(loss([perfect(shown, labels)], target)) for shown in (target, answer))
    assert wrong > right + 0.02


@EVERY
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


@EVERY
def test_a_batch_in_which_everything_is_ignored_teaches_nothing(name: str, labels: Labels) -> None:
    logits, target = draw(labels, 4, 4)
    loss = supervised(name, ignoring(labels))
    value, gradient = value_and_gradient(loss([logits], torch.full_like(target, IGNORE)), logits)
    assert value.isfinite()
    assert not gradient.any()


@EVERY
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


@EVERY
def test_a_perfect_answer_is_better_than_a_wrong_one(name: str, labels: Labels) -> None:
    _, target = draw(labels, 6, 7)
    right = one_hot(target, labels) * 20 - 10
    loss = supervised(name, labels)
    assert float(loss([right], target)) < float(loss([right.flip(1)], target))


@EVERY
def test_half_precision_logits(name: str, labels: Labels) -> None:
    logits, target = draw(labels, 8, 8)
    rough = logits.detach().bfloat16()
    loss = supervised(name, labels)([rough], target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, supervised(name, labels)([rough.float()], target))


@EVERY
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 3.0]])
def test_over_two_processes_it_is_the_loss_of_the_whole_batch(
    name: str, labels: Labels, weights: list[float] | None
) -> None:
    """One process has two samples, the other one: their tensors are added up as `Ranks.total` does it."""
    torch.manual_seed(1)
    logits = (torch.randn(3, labels.outputs, 5, 6) * 2).requires_grad_()
    target = torch.randint(0, 3, (3, 5, 6), dtype=torch.int16)
    case_weights = None if weights is None else torch.tensor(weights)
    alone = value_and_gradient(supervised(name, labels)([logits], target, None, case_weights), logits)
    parts = [slice(0, 2), slice(2, 3)]

    def loss_of(part: slice, total: Any) -> torch.Tensor:
        own_weights = None if case_weights is None else case_weights[part]
        return supervised(name, labels, total=total)([logits[part]], target[part], None, own_weights)

    handed: list[list[torch.Tensor]] = [[], []]  # what each process hands to `total`, one tensor after another
    for number, part in enumerate(parts):
        loss_of(part, lambda sums, own=handed[number]: own.append(sums.detach()) or sums)
    gradients = []
    for number, part in enumerate(parts):
        others = iter(handed[1 - number])
        loss = loss_of(part, lambda sums, others=others: sums + next(others))
        torch.testing.assert_close(loss.detach(), alone[0])
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(sum(gradients), alone[1])


@EVERY
def test_with_weights_of_cases_it_is_the_mean_of_weight_times_loss(name: str, labels: Labels) -> None:
    target, logits = blocks(), torch.randn(2, labels.outputs, 12, 12, generator=torch.Generator().manual_seed(0))
    loss = supervised(name, labels)
    first, second = (loss([logits[[number]]], target[[number]]) for number in range(2))
    weighted = loss([logits], target, None, torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(weighted, (0.5 * first + 3 * second) / 2)
    torch.testing.assert_close(loss([logits[:1]], target[:1], None, torch.tensor([0.25])), 0.25 * first)
    torch.testing.assert_close(loss([logits], target, None, torch.ones(2)), loss([logits], target))


@EVERY
@pytest.mark.parametrize("batch_dice", [False, True])
def test_a_case_of_weight_0_teaches_nothing(name: str, labels: Labels, batch_dice: bool) -> None:
    logits, target = draw(labels, 8, 8, ignored=True)
    loss = supervised(name, ignoring(labels), batch_dice)
    value, gradient = value_and_gradient(loss([logits], target, None, torch.tensor([2.0, 0.0])), logits)
    assert gradient[0].any()
    assert not gradient[1].any()
    torch.testing.assert_close(value, loss([logits[:1]], target[:1]).detach())
    nothing, gradient = value_and_gradient(loss([logits], target, None, torch.zeros(2)), logits)
    assert float(nothing) == 0
    assert not gradient.any()


@EVERY
def test_with_deep_supervision(name: str, labels: Labels) -> None:
    """The loss of two resolutions, weighted by 2/3 and 1/3."""
    torch.manual_seed(0)
    target = blocks()
    outputs = [torch.randn(2, labels.outputs, size, size) for size in (12, 6)]
    loss = make_loss(make_training(loss=name), labels, False)
    fine, coarse = (
        DeepSupervision(loss, labels, [[1, 1]])([logits], thinned)
        for logits, thinned in zip(outputs, (target, target[:, 1::2, 1::2]), strict=True)
    )
    both = DeepSupervision(loss, labels, [[1, 1], [2, 2]])(outputs, target)
    torch.testing.assert_close(both, fine * 2 / 3 + coarse / 3)


def tiny_plan(name: Any, labels: Labels) -> Plan:
    configuration = {
        "patch_voxels": [16, 16],
        "network": network_values(2, 2, features=[4, 8]),
        "normalization": [{"scheme": "none"}],
    }
    values = {"labels": labels.model_dump(mode="json"), "training": make_training(loss=name).model_dump()}
    return make_plan(2, configuration, **values)


@EVERY
def test_two_steps_of_training_and_the_second_one_again_after_a_checkpoint(
    name: str, labels: Labels, tmp_path: Path
) -> None:
    plan = tiny_plan(name, labels)
    configuration = plan.configuration("main")
    rng = np.random.default_rng(0)
    label = np.zeros((1, 24, 24), int)
    label[:, 6:14, 6:14], label[:, 10:20, 10:18] = 1, 2
    sample = make_sample(label - 0.5 + 0.2 * rng.normal(size=label.shape), label)
    setup = Setup(plan, configuration, Course.over(2), torch.device("cpu"), torch.float32, FoldFolder(tmp_path))
    batches = setup.batches([sample])

    def trainer(seed: int) -> Trainer:
        torch.manual_seed(seed)
        return Trainer(make_network(plan, configuration), setup)

    through = trainer(0)
    start = {key: value.clone() for key, value in through.network.state_dict().items()}
    through.step(setup, 0, batches.make(0))
    torch.save(through.state(setup, 1), tmp_path / "state.pt")
    loss = through.step(setup, 1, batches.make(1))
    assert loss.isfinite()
    again = trainer(1)
    assert again.restore(setup, torch.load(tmp_path / "state.pt", weights_only=True)) == 1
    torch.testing.assert_close(again.step(setup, 1, batches.make(1)), loss, rtol=0, atol=0)
    ended = through.network.state_dict()
    for key, value in again.network.state_dict().items():
        torch.testing.assert_close(value, ended[key], rtol=0, atol=0)
    assert any((ended[key] != value).any() for key, value in start.items())
