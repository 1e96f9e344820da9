"""Losses beside the default one, against MONAI's, naive formulas and numbers by hand."""

import numpy as np
import pytest
import torch
from builders import make_training
from learning.loss_cases import CLASSES, REGIONS, assert_same, draw, ignoring, supervised, value_and_gradient
from torch.nn import functional

from medseg.core.errors import PlanError
from medseg.core.labels import IGNORE, Labels
from medseg.training.losses.boundary import signed_distance
from medseg.training.losses.deep_supervision import DeepSupervision
from medseg.training.losses.protocol import OneHotLoss, SummedLoss, one_hot
from medseg.training.losses.skeleton_recall import skeleton_tube
from medseg.training.losses.table import make_loss

BOTH = pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])


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


def test_cross_entropy_is_that_of_torch() -> None:
    logits, target = draw(CLASSES, 6, 7, ignored=True)
    expected = functional.cross_entropy(logits, target.long(), ignore_index=IGNORE)
    assert_same(supervised("ce", ignoring(CLASSES))([logits], target), expected, logits)


@pytest.mark.parametrize("name", ["ce", "bce"])
def test_binary_cross_entropy_is_that_of_torch(name: str) -> None:
    logits, target = draw(REGIONS, 6, 7)
    expected = functional.binary_cross_entropy_with_logits(logits, one_hot(target, REGIONS))
    assert_same(supervised(name, REGIONS)([logits], target), expected, logits)


def test_binary_cross_entropy_of_labels_that_exclude_each_other_is_refused() -> None:
    with pytest.raises(PlanError, match=r"'bce', which is for labels\.activation: sigmoid"):
        supervised("bce", CLASSES)


def test_top_k_by_hand() -> None:
    """Ten voxels of background with cross-entropies of 1 to 10 tenths; 25 % of them are the two hardest."""
    entropy = torch.arange(1, 11) / 10
    background = (-entropy).exp()
    logits = torch.stack([background, (1 - background) / 2, (1 - background) / 2]).log()[None, :, None]
    target = torch.zeros(1, 1, 10, dtype=torch.int16)
    assert float(supervised({"name": "top_k", "percent": 25}, CLASSES)([logits], target)) == pytest.approx(0.95)
    assert float(supervised({"name": "top_k", "percent": 1}, CLASSES)([logits], target)) == pytest.approx(1.0)
    everything = supervised({"name": "top_k", "percent": 100}, CLASSES)([logits], target)
    assert float(everything) == pytest.approx(0.55)


def test_top_k_of_regions_chooses_among_structures_of_voxels() -> None:
    logits, target = draw(REGIONS, 5, 10)
    each = functional.binary_cross_entropy_with_logits(logits, one_hot(target, REGIONS), reduction="none")
    expected = each.flatten(1).sort(descending=True).values[:, :10].mean()
    assert_same(supervised("top_k", REGIONS)([logits], target), expected, logits)


@BOTH
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("w_type", ["square", "simple", "uniform"])
def test_generalized_dice_is_that_of_monai(labels: Labels, batch_dice: bool, w_type: str) -> None:
    """With a structure that is absent in one sample, too."""
    from monai.losses import GeneralizedDiceLoss

    logits, target = draw(labels, 6, 7)
    target[0] = target[0].clamp(max=1)
    softmax = labels.activation == "softmax"
    reference = GeneralizedDiceLoss(
        include_background=not softmax, softmax=softmax, sigmoid=not softmax, w_type=w_type, batch=batch_dice,
        smooth_nr=1e-9, smooth_dr=1e-9,
    )  # fmt: skip
    own = supervised({"name": "generalized_dice", "w_type": w_type}, labels, batch_dice)
    assert_same(own([logits], target), reference(logits, one_hot(target, labels)), logits)


def test_generalized_dice_by_hand() -> None:
    """Structure a: 4 voxels, 2 found, 2 false ones; b: 2 voxels, all found. Weights 1/16 and 1/4."""
    target = torch.tensor([[[1, 1, 1, 1, 2, 2, 0, 0]]], dtype=torch.int16)
    answer = torch.tensor([[[1, 1, 0, 0, 2, 2, 1, 1]]])
    logits = functional.one_hot(answer, 3).movedim(-1, 1) * 60.0
    ratio = 2 * (2 / 16 + 2 / 4) / (8 / 16 + 4 / 4)
    assert float(supervised("generalized_dice", CLASSES)([logits], target)) == pytest.approx(1 - ratio, abs=1e-5)


@BOTH
@pytest.mark.parametrize("batch_dice", [False, True])
def test_focal_tversky_by_its_formula(labels: Labels, batch_dice: bool) -> None:
    logits, target = draw(labels, 6, 7)
    softmax = labels.activation == "softmax"
    first = 1 if softmax else 0
    probability = (logits.softmax(1) if softmax else logits.sigmoid())[:, first:]
    mask = one_hot(target, labels)[:, first:]
    axes = (0, 2, 3) if batch_dice else (2, 3)
    hits, false, missed = (
        (one * other).sum(axes)
        for one, other in ((probability, mask), (probability, 1 - mask), (1 - probability, mask))
    )
    expected = ((1 - hits / (hits + 0.3 * false + 0.7 * missed)) ** 0.75).mean()
    assert_same(supervised("focal_tversky", labels, batch_dice)([logits], target) + 1, expected, logits)


@BOTH
@pytest.mark.parametrize("shape", [(12, 13), (6, 8, 7)])
def test_cldice_is_that_of_monai(labels: Labels, shape: tuple[int, ...]) -> None:
    pytest.importorskip("monai", minversion="1.6", reason="SoftclDiceLoss of earlier versions drops the first channel")
    from monai.losses import SoftclDiceLoss

    logits, target = draw(labels, *shape)
    softmax = labels.activation == "softmax"
    first = 1 if softmax else 0
    probability, mask = (logits.softmax(1) if softmax else logits.sigmoid())[:, first:], one_hot(target, labels)
    maps = [(probability[:, [number]], mask[:, [number + first]]) for number in range(2)]
    # MONAI adds up all structures before its ratios; here each structure has its own, as Dice has
    reference = torch.stack(
        [SoftclDiceLoss(iter_=4)(*(m[[sample]] for m in pair)) for pair in maps for sample in range(2)]
    ).mean()
    loss = make_loss(make_training(loss={"name": "cldice", "iterations": 4}), labels, False)
    assert not isinstance(loss, SummedLoss)
    torch.testing.assert_close(loss(logits, target, None, None), reference, rtol=1e-3, atol=1e-4)


def test_a_gap_in_a_thin_structure_costs_clDice_more_than_a_thicker_one() -> None:
    """A vessel of 3 x 20 pixels: one answer is cut through, the other is wider by as many pixels."""
    target = torch.zeros(1, 9, 24, dtype=torch.int16)
    target[:, 3:6, 2:22] = 1
    cut, wide = target.clone(), target.clone()
    cut[..., 10:13] = 0
    wide[:, 6, 8:17] = 1
    losses = {}
    for name in ("cldice", "dice"):
        loss = supervised(name, CLASSES)
        losses[name] = [
            float(loss([functional.one_hot(answer.long(), 3).movedim(-1, 1) * 40.0], target)) for answer in (cut, wide)
        ]
    assert losses["cldice"][0] > losses["cldice"][1] + 0.02
    assert losses["dice"][0] == pytest.approx(losses["dice"][1], abs=0.02)


def test_boundary_by_hand() -> None:
    """A row of six, structure a at 2 and 3: distances 2, 1, 1, 1, 1, 2; b is absent: 1 everywhere."""
    target = torch.tensor([[[0, 0, 1, 1, 0, 0]]], dtype=torch.int16)
    logits = torch.tensor([0.5, 0.4, 0.1]).log().reshape(1, 3, 1, 1).expand(1, 3, 1, 6)
    a = (0.4 * (2 + 1 + 1 + 2) + 0.6 * (1 + 1)) / 6
    b = 0.1 * 6 / 6
    assert float(supervised("boundary", CLASSES)([logits], target)) == pytest.approx((a + b) / 2)
    ignored = torch.tensor([[[0, IGNORE, 1, 1, 0, 0]]], dtype=torch.int16)  # the boundary may lie on either side of it
    a = (0.4 * (2 + 1 + 2) + 0.6 * (2 + 1)) / 5
    assert float(supervised("boundary", ignoring(CLASSES))([logits], ignored)) == pytest.approx((a + 0.1) / 2)


def test_boundary_has_the_gradient_of_the_paper() -> None:
    """Mean over voxels of probability times signed distance."""
    logits, target = draw(CLASSES, 8, 9)
    nothing = np.zeros((8, 9), bool)
    maps = [[signed_distance((sample == value).numpy(), nothing) for value in (1, 2)] for sample in target]
    distance = torch.from_numpy(np.array(maps))
    paper = (logits.softmax(1)[:, 1:] * distance).mean()
    _, gradient = value_and_gradient(supervised("boundary", CLASSES)([logits], target), logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(paper, logits)[0])


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


def bar(labels: Labels, *, present: bool = True) -> torch.Tensor:
    """One sample, 9 x 12, with structure b as a bar of 3 x 8 voxels."""
    target = torch.zeros(1, 9, 12, dtype=torch.int16)
    if present:
        target[0, 3:6, 2:10] = 2
    return target


def test_skeleton_recall_by_hand() -> None:
    """Of a bar of 3 x 8 the skeleton is the middle line without its ends, 6 voxels; the tube of radius 1 is 3 x 8."""
    labels = Labels(structures={"b": 2})
    answer = torch.zeros_like(bar(labels))
    answer[0, 4, 3:6] = 2  # half of the skeleton, and 3 of 24 voxels of the tube
    answer[0, 0] = 2  # outside of the tube: costs nothing
    logits = functional.one_hot((answer > 0).long(), 2).movedim(-1, 1) * 60.0
    indices = (bar(labels) > 0).to(torch.int16)
    for radius, missed in ((0, 1 - 3 / 6), (1, 1 - 3 / 24)):
        loss = supervised({"name": "skeleton_recall", "radius": radius}, labels)
        assert float(loss([logits], indices)) == pytest.approx(missed, abs=1e-5)
    absent = supervised("skeleton_recall", labels)([logits], torch.zeros_like(indices))
    assert float(absent) == pytest.approx(15 / 16, abs=1e-5)


def test_the_skeleton_of_what_fills_the_patch_is_all_of_it() -> None:
    everything = torch.ones(1, 1, 6, 6)
    assert skeleton_tube(everything, 10, 2).all()
    assert not skeleton_tube(everything * 0, 10, 2).any()
    line = torch.zeros(1, 1, 5, 5, 5)
    line[..., 2] = 1
    assert torch.equal(skeleton_tube(line, 10, 2), line)  # a plane of one voxel is its own skeleton


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_hausdorff_is_that_of_monai(alpha: float) -> None:
    """Where reference and prediction have both sides of a boundary."""
    from monai.losses import HausdorffDTLoss

    labels = Labels(structures={"a": [1], "b": [2]}, activation="sigmoid", region_values=[1, 2])
    logits, _ = draw(labels, 8, 9)
    target = torch.zeros(2, 8, 9, dtype=torch.int16)
    target[:, 1:4, 1:5], target[:, 5:8, 3:8] = 1, 2
    expected = HausdorffDTLoss(alpha=alpha, sigmoid=True, include_background=True)(logits, one_hot(target, labels))
    assert_same(supervised({"name": "hausdorff", "alpha": alpha}, labels)([logits], target), expected, logits)


def test_hausdorff_by_hand() -> None:
    """A row of 6 voxels, of which the first two are the structure; the third is a false positive."""
    labels = Labels(structures={"a": 1})
    target = torch.tensor([[[1, 1, 0, 0, 0, 0]]], dtype=torch.int16)
    answer = torch.tensor([[[1, 1, 1, 0, 0, 0]]])
    logits = functional.one_hot(answer, 2).movedim(-1, 1) * 60.0
    # the false voxel lies 1 from the structure, and 1 from what the prediction leaves out
    assert float(supervised("hausdorff", labels)([logits], target)) == pytest.approx((1 + 1) / 6, abs=1e-5)
    nothing = torch.zeros_like(target)  # without a structure its distance is 1, and that of the prediction 3, 2, 1
    assert float(supervised("hausdorff", labels)([logits], nothing)) == pytest.approx((3 + 9 + 4 + 1) / 6, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [("hausdorff", "alpha", 0), ("skeleton_recall", "radius", -1), ("skeleton_recall", "iterations", 1.5)],
)
def test_arguments_that_cannot_be_are_refused(name: str, argument: str, value: float) -> None:
    with pytest.raises(PlanError, match=f"do not fit {name}: {argument} is {value}"):
        supervised({"name": name, argument: value}, CLASSES)
