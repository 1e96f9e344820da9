"""The loss against nnU-Net's formulas, written naively with one-hot targets: values and gradients."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional

from medseg.core.errors import PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.training.losses import voxel_sums
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.dice_ce import DiceCE

CLASSES = Labels(structures={"a": 1, "b": 2}, ignore=9)
REGIONS = Labels(structures={"all": [1, 2], "b": 2}, activation="sigmoid", region_values=[1, 2], ignore=9)
MEMBERS = {"all": (1, 2), "b": (2,)}


def dice_ce(
    labels: Labels, batch_dice: bool, dice_weight: float, cross_entropy_weight: float, scales: Sequence[Sequence[int]]
) -> DeepSupervision:
    return DeepSupervision(DiceCE(labels, batch_dice, dice_weight, cross_entropy_weight), labels, scales)


def one_hot(target: torch.Tensor, labels: Labels) -> torch.Tensor:
    """(batch, outputs, ...): 1 where a voxel belongs to an output."""
    if labels.activation == "softmax":
        return torch.stack([(target == value).float() for value in range(3)], dim=1)
    inside = [sum((target == value).float() for value in MEMBERS[name]) for name in labels.names]
    return torch.stack(inside, dim=1)  # type: ignore[arg-type]


def naive(
    logits: torch.Tensor, target: torch.Tensor, labels: Labels, batch_dice: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(cross-entropy, Dice) as nnU-Net v2 has them (reference A6)."""
    mask = (target != IGNORE)[:, None].float()
    wanted = one_hot(target, labels)
    if labels.activation == "softmax":
        probability = logits.softmax(1)
        cross_entropy = functional.cross_entropy(logits, target.long(), ignore_index=IGNORE)
    else:
        probability = logits.sigmoid()
        each = -(wanted * logits.sigmoid().log() + (1 - wanted) * (-logits).sigmoid().log())
        cross_entropy = (each * mask).sum() / (mask.sum() * logits.shape[1])
    axes = [0, *range(2, logits.ndim)] if batch_dice else list(range(2, logits.ndim))
    overlap = (probability * wanted * mask).sum(axes)
    total = (probability * mask).sum(axes) + (wanted * mask).sum(axes)
    dice = (2 * overlap + 1e-5) / (total + 1e-5).clamp(min=1e-8)
    return cross_entropy, (dice[..., 1:] if labels.activation == "softmax" else dice).mean()


def draw(labels: Labels, shape: Sequence[int], ignored: bool, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    logits = torch.randn(2, labels.outputs, *shape) * 3
    target = torch.randint(IGNORE if ignored else 0, 3, (2, *shape), dtype=torch.int16)
    return logits, target


def value_and_gradient(loss: torch.Tensor, leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("shape", [(5, 6), (4, 3, 5)])
def test_one_resolution(shape: tuple[int, ...], labels: Labels, batch_dice: bool, ignored: bool) -> None:
    logits, target = draw(labels, shape, ignored)
    logits.requires_grad_()
    loss = dice_ce(labels, batch_dice, 1.0, 1.0, [[1] * len(shape)])
    cross_entropy, dice = naive(logits, target, labels, batch_dice)
    fused = value_and_gradient(loss([logits], target), [logits])
    for one, expected in zip(fused, value_and_gradient(cross_entropy - dice, [logits]), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("dice_weight", "cross_entropy_weight"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_weights_of_the_two_terms(dice_weight: float, cross_entropy_weight: float) -> None:
    logits, target = draw(CLASSES, (4, 4), False)
    cross_entropy, dice = naive(logits, target, CLASSES, True)
    loss = dice_ce(CLASSES, True, dice_weight, cross_entropy_weight, [[1, 1]])
    torch.testing.assert_close(loss([logits], target), cross_entropy_weight * cross_entropy - dice_weight * dice)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_deep_supervision(labels: Labels) -> None:
    scales = [[1, 1, 1], [1, 2, 2], [2, 4, 4]]
    torch.manual_seed(0)
    target = torch.randint(IGNORE, 3, (2, 4, 8, 8), dtype=torch.int16)
    outputs = [torch.randn(2, labels.outputs, 4 // z, 8 // y, 8 // x, requires_grad=True) for z, y, x in scales]
    terms = []
    for weight, logits in zip((4 / 7, 2 / 7, 1 / 7), outputs, strict=True):
        thin = functional.interpolate(target[:, None].float(), logits.shape[2:], mode="nearest-exact")[:, 0].to(target)
        cross_entropy, dice = naive(logits, thin, labels, False)
        terms.append(weight * (cross_entropy - dice))
    fused = value_and_gradient(dice_ce(labels, False, 1.0, 1.0, scales)(outputs, target), outputs)
    for one, expected in zip(fused, value_and_gradient(torch.stack(terms).sum(), outputs), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)


def test_as_many_outputs_as_scales() -> None:
    logits, target = draw(CLASSES, (4, 4), False)
    with pytest.raises(PlanError, match=r"returned \[\(2, 3, 4, 4\)\]; expected \[\(2, 3, 4, 4\), \(2, 3, 2, 2\)\]"):
        dice_ce(CLASSES, False, 1.0, 1.0, [[1, 1], [2, 2]])([logits], target)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_a_batch_without_annotation_teaches_nothing(labels: Labels) -> None:
    logits, target = draw(labels, (4, 4), False)
    logits.requires_grad_()
    value, gradient = value_and_gradient(
        dice_ce(labels, True, 1.0, 1.0, [[1, 1]])([logits], target * 0 + IGNORE), [logits]
    )
    assert value.isfinite()
    assert not gradient.any()


def test_ignored_voxels_have_no_gradient() -> None:
    logits, target = draw(CLASSES, (6, 6), True)
    logits.requires_grad_()
    _, gradient = value_and_gradient(dice_ce(CLASSES, False, 1.0, 1.0, [[1, 1]])([logits], target), [logits])
    ignored = (target == IGNORE)[:, None].expand_as(gradient)
    assert not gradient[ignored].any()
    assert gradient[~ignored].abs().min() > 0


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_a_perfect_answer_has_the_lowest_loss(labels: Labels) -> None:
    _, target = draw(labels, (6, 6), False)
    logits = one_hot(target, labels) * 60 - 30
    assert float(dice_ce(labels, False, 1.0, 1.0, [[1, 1]])([logits], target)) == pytest.approx(-1, abs=1e-4)


def test_an_absent_structure_does_not_divide_by_zero() -> None:
    logits = torch.tensor([40.0, -40.0, -40.0])[None, :, None, None].expand(1, 3, 4, 4).clone().requires_grad_()
    target = torch.zeros(1, 4, 4, dtype=torch.int16)
    value, gradient = value_and_gradient(dice_ce(CLASSES, False, 1.0, 1.0, [[1, 1]])([logits], target), [logits])
    assert float(value) == pytest.approx(-1, abs=1e-4)
    assert gradient.isfinite().all()


def test_half_precision_logits_are_summed_in_full_precision() -> None:
    logits, target = draw(CLASSES, (64, 64), False)
    loss = dice_ce(CLASSES, True, 1.0, 1.0, [[1, 1]])
    rough = loss([logits.bfloat16()], target)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, loss([logits.bfloat16().float()], target))


# --- partly labelled ---

PARTLY = {
    "all of both": [[True, True], [True, True]],
    "a missing in one": [[True, True], [False, True]],
    "b missing in both": [[True, False], [True, False]],
    "nothing in one": [[True, True], [False, False]],
}


def naive_partly(
    logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor, labels: Labels, batch_dice: bool
) -> torch.Tensor:
    """Sample by sample and structure by structure; what was not annotated in a sample is background in its target."""
    entropy, counted, sums = [], 0.0, {}
    for number, (own_logits, own_target) in enumerate(zip(logits, target, strict=True)):
        names = annotated[number].tolist()
        mask = (own_target != IGNORE).float()
        if labels.activation == "softmax":
            probability = own_logits.softmax(0)
            hidden = [structure + 1 for structure, known in enumerate(names) if not known]
            background = probability[[0, *hidden]].sum(0)
            wanted_background = sum((own_target == value).float() for value in (0, *hidden))
            entropy.append(-(wanted_background * background.log() * mask).sum())
            counted += float(mask.sum())
        for structure, known in enumerate(names):
            if not known:
                continue
            wanted = one_hot(own_target[None], labels)[0][structure + (labels.activation == "softmax")]
            if labels.activation == "softmax":
                p = probability[structure + 1]
                entropy.append(-(wanted * p.log() * mask).sum())
            else:
                p = own_logits[structure].sigmoid()
                entropy.append(-((wanted * p.log() + (1 - wanted) * (1 - p).log()) * mask).sum())
                counted += float(mask.sum())
            key = structure if batch_dice else (structure, number)
            own = torch.stack([(p * wanted * mask).sum(), ((p + wanted) * mask).sum()])
            sums[key] = sums.get(key, 0) + own
    dice = torch.stack([(2 * both + 1e-5) / (total + 1e-5) for both, total in sums.values()])
    return torch.stack(entropy).sum() / counted - dice.mean()


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("partly", PARTLY)
def test_partly_labelled_samples(partly: str, labels: Labels, batch_dice: bool, ignored: bool) -> None:
    annotated = torch.tensor(PARTLY[partly])
    logits, target = draw(labels, (4, 3, 5), ignored)
    logits = (logits / 3).requires_grad_()
    fused = dice_ce(labels, batch_dice, 1.0, 1.0, [[1, 1, 1]])([logits], target, annotated)
    naively = naive_partly(logits, target, annotated, labels, batch_dice)
    for one, expected in zip(value_and_gradient(fused, [logits]), value_and_gradient(naively, [logits]), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)


def test_merged_background_by_hand() -> None:
    # one voxel, background; probabilities 0.5 (background), 0.25 (a), 0.25 (b); b was not annotated
    logits = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 3, 1, 1)
    target = torch.zeros(1, 1, 1, dtype=torch.int16)
    only_entropy = dice_ce(CLASSES, False, 0.0, 1.0, [[1, 1]])
    assert float(only_entropy([logits], target)) == pytest.approx(-math.log(0.5))
    assert float(only_entropy([logits], target, torch.tensor([[True, False]]))) == pytest.approx(-math.log(0.75))


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_what_was_not_annotated_does_not_matter(labels: Labels) -> None:
    """Moving probability between the background and a hidden structure changes nothing, nor does its own region."""
    logits, target = draw(labels, (5, 6), True)
    annotated = torch.tensor([[True, False], [True, False]])
    loss = dice_ce(labels, False, 1.0, 1.0, [[1, 1]])
    hidden = logits.clone().requires_grad_()
    value, gradient = value_and_gradient(loss([hidden], target, annotated), [hidden])
    if labels.activation == "sigmoid":
        assert not gradient[:, 1].any()
        return
    share = torch.rand(2, 5, 6)
    together = torch.logsumexp(logits[:, [0, 2]], dim=1)
    moved = torch.stack([together + share.log(), logits[:, 1], together + (1 - share).log()], dim=1)
    torch.testing.assert_close(loss([moved], target, annotated), value)


def test_deep_supervision_of_partly_labelled_samples() -> None:
    annotated = torch.tensor([[True, False], [True, True]])
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 4, 4), dtype=torch.int16)
    outputs = [torch.randn(2, 3, 4, 4), torch.randn(2, 3, 2, 2)]
    fine, coarse = (
        dice_ce(CLASSES, True, 1.0, 1.0, [[1, 1]])([logits], labels, annotated)
        for logits, labels in zip(outputs, (target, target[:, 1::2, 1::2]), strict=True)
    )
    both = dice_ce(CLASSES, True, 1.0, 1.0, [[1, 1], [2, 2]])(outputs, target, annotated)
    torch.testing.assert_close(both, fine * 2 / 3 + coarse / 3)


# --- chunks, layouts and memory ---


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven voxels or fewer at once, so that even these volumes are read in pieces."""
    monkeypatch.setitem(voxel_sums._CHUNK, "cpu", 42)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("partly", [None, *PARTLY])
def test_gradients_by_finite_differences(partly: str | None, labels: Labels, batch_dice: bool) -> None:
    logits, target = draw(labels, (3, 5), ignored=True)
    annotated = None if partly is None else torch.tensor(PARTLY[partly])
    loss = dice_ce(labels, batch_dice, 0.7, 1.3, [[1, 1], [1, 2]])
    outputs = [(part / 3).double().requires_grad_() for part in (logits, logits[..., ::2][..., :2].clone())]
    assert torch.autograd.gradcheck(lambda *outputs: loss(outputs, target, annotated), outputs)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_in_chunks_the_same_within_a_millionth(labels: Labels) -> None:
    logits, target = draw(labels, (6, 7, 8), ignored=True)
    logits.requires_grad_()
    cross_entropy, dice = naive(logits, target, labels, False)
    fused = value_and_gradient(dice_ce(labels, False, 1.0, 1.0, [[1, 1, 1]])([logits], target), [logits])
    for one, expected in zip(fused, value_and_gradient(cross_entropy - dice, [logits]), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-6, atol=1e-6)


LAYOUTS = {
    "channels last": lambda logits: logits.contiguous(memory_format=torch.channels_last_3d),
    "axes swapped": lambda logits: logits.transpose(2, 4).contiguous().transpose(2, 4),
    "a part of a larger one": lambda logits: functional.pad(logits, [1, 1])[..., 1:-1],
    "one value for all": lambda logits: logits[:, :, :1, :1, :1].expand_as(logits),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_the_logits(layout: str, labels: Labels) -> None:
    logits, target = draw(labels, (3, 4, 5), ignored=True)
    odd = LAYOUTS[layout](logits)
    loss = dice_ce(labels, False, 1.0, 1.0, [[1, 1, 1]])
    answers = []
    for one in (odd, odd.clone(memory_format=torch.contiguous_format)):
        leaf = one.detach().requires_grad_()
        answers.append(value_and_gradient(loss([leaf], target), [leaf]))
    for one, expected in zip(*answers, strict=True):
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_nothing_of_the_size_of_the_logits_is_kept_but_themselves(labels: Labels) -> None:
    logits, target = draw(labels, (16, 16), ignored=False)
    rough = logits.bfloat16().requires_grad_()
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = dice_ce(labels, True, 1.0, 1.0, [[1, 1]])([rough], target)
    large = [tensor for tensor in kept.values() if tensor.numel() >= target.numel()]
    assert {tensor.data_ptr() for tensor in large} == {rough.data_ptr(), target.data_ptr()}
    loss.backward()
    assert rough.grad is not None
    assert rough.grad.dtype == torch.bfloat16
