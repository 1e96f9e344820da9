"""The stage before's label map in training: changed as nnU-Net changes it, in the shares that it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from builders import make_augmentation, make_configuration, make_sample, make_training

from medseg.core.labels import OUTSIDE
from medseg.plans.sections.augmentation import Augmentation
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batches
from medseg.training.data.previous import Corruption, Operator, corrupt, dilated, draw_corruption, one_hot
from medseg.training.data.sampling import generator

ALWAYS = make_augmentation(previous_operator_probability=1.0, previous_removal_probability=1.0)
NEVER = make_augmentation(previous_operator_probability=0.0, previous_removal_probability=0.0)


def ball(diameter: int, axes: int) -> np.ndarray:
    """What skimage's `ball` and `disk` are: a cube's voxels that are no further from its middle than its faces."""
    middle = (diameter - 1) / 2
    return sum((place - middle) ** 2 for place in np.indices((diameter,) * axes)) <= middle**2


def widened(mask: np.ndarray, diameter: int) -> np.ndarray:
    """By definition: whether the ball around a voxel meets the mask, one offset after another."""
    before = (diameter - 1) // 2
    padded = np.pad(mask, [(before, diameter - 1 - before)] * mask.ndim)
    result = np.zeros_like(mask)
    for offset in np.argwhere(ball(diameter, mask.ndim)):
        result |= padded[tuple(slice(one, one + size) for one, size in zip(offset, mask.shape, strict=True))]
    return result


@pytest.mark.parametrize("diameter", [3, 4, 7, 16])
@pytest.mark.parametrize("shape", [(11, 14, 9), (17, 23)])
def test_a_ball_widens_as_its_definition_says(diameter: int, shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(diameter).random(shape) < 0.01
    mask[0, 0] = True
    np.testing.assert_array_equal(dilated(torch.from_numpy(mask), diameter).numpy(), widened(mask, diameter))


def test_a_widened_voxel_by_hand() -> None:
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[2, 2] = True
    cross = [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    assert dilated(mask, 3).int().tolist() == [[0] * 5, *cross, [0] * 5]


def a_map() -> torch.Tensor:
    """Two touching structures in the middle, and beyond the volume on one side."""
    label = torch.zeros(40, 40, 40, dtype=torch.int16)
    label[..., 36:] = OUTSIDE
    label[12:24, 12:28, 12:20] = 1
    label[12:24, 12:28, 20:26] = 2
    return label


@pytest.mark.parametrize("operator", ["dilate", "erode", "close", "open"])
@pytest.mark.parametrize("diameter", [3, 6, 15])
def test_operators_change_one_label_and_take_from_others(operator: Operator, diameter: int) -> None:
    before = a_map()
    before[30, 30, 20:30] = 1  # thin: opening takes it away
    after = before.clone()
    corrupt(after[None], [Corruption(((1, operator, diameter),))])
    mask = (before == 1).numpy()
    grow = lambda one: widened(one, diameter)  # noqa: E731
    shrink = lambda one: ~widened(~one, diameter)  # noqa: E731
    expected = {
        "dilate": lambda: grow(mask),
        "erode": lambda: shrink(mask),
        "close": lambda: shrink(grow(mask)),
        "open": lambda: grow(shrink(mask)),
    }[operator]()
    np.testing.assert_array_equal((after == 1).numpy(), expected)
    np.testing.assert_array_equal((after == 2).numpy(), (before == 2).numpy() & ~expected)


def test_the_edge_of_a_patch_is_no_edge_of_a_structure() -> None:
    """What reaches the border of the patch goes on behind it, as in nnU-Net."""
    label = torch.zeros(8, 8, 8, dtype=torch.int16)
    label[:, :, :4] = 1
    corrupt(label[None], [Corruption(((1, "erode", 3),))])
    assert (label == 1).nonzero().amax(0).tolist() == [7, 7, 2]
    assert int((label == 1).sum()) == 8 * 8 * 3


def test_a_component_vanishes_unless_it_is_large() -> None:
    label = torch.zeros(10, 10, 10, dtype=torch.int16)
    label[:4] = 1  # 40 % of the patch
    label[6, 6, 6], label[7, 7, 7] = 1, 1  # one component: they touch at a corner
    label[9, 0, 0] = 1
    label[9, 9, 9] = 2
    for which, gone in ((0.0, [(6, 6, 6), (7, 7, 7)]), (0.6, [(9, 0, 0)])):
        after = label.clone()
        corrupt(after[None], [Corruption(removals=((1, which),))])
        assert [tuple(place) for place in (after != label).nonzero().tolist()] == gone
    corrupt(label[None], [Corruption(removals=((2, 0.9),))])
    assert not (label == 2).any()
    corrupt(label[None], [Corruption(removals=((2, 0.9),))])  # there is none left


def test_drawn_as_often_as_nnunet_does() -> None:
    """0.4 a sample and 0.5 a label, one of four operators, a radius of 1 to 8; 0.2 and 0.5 a component."""
    settings = make_augmentation()
    assert (settings.previous_operator_probability, settings.previous_removal_probability) == (0.4, 0.2)
    count, labels = 20_000, 3
    drawn = [draw_corruption(generator(0, step, 0), settings, labels) for step in range(count)]
    operators = [one for corruption in drawn for one in corruption.operators]
    removals = [one for corruption in drawn for one in corruption.removals]

    def close(seen: float, share: float, of: float) -> bool:
        return abs(seen - share * of) < 4.5 * (share * (1 - share) * of) ** 0.5

    assert close(sum(bool(one.operators) for one in drawn), 0.4 * (1 - 0.5**labels), count)
    assert close(sum(bool(one.removals) for one in drawn), 0.2 * (1 - 0.5**labels), count)
    for label in range(1, labels + 1):
        assert close(sum(one[0] == label for one in operators), 0.4 * 0.5, count)
        assert close(sum(one[0] == label for one in removals), 0.2 * 0.5, count)
    assert all(close(seen, 0.25, len(operators)) for seen in Counter(one[1] for one in operators).values())
    diameters = Counter(one[2] for one in operators)  # int(2 * radius + 1)
    assert sorted(diameters) == list(range(3, 17))
    assert all(close(seen, 1 / 14, len(operators)) for seen in diameters.values())
    both = [one.operators for one in drawn if len(one.operators) == labels]
    assert close(sum(one[0][0] == 3 for one in both), 1 / 3, len(both))  # in random order
    picks = np.array([which for _, which in removals])
    assert 0 <= picks.min() < picks.max() < 1
    assert abs(picks.mean() - 0.5) < 0.02


def test_one_hot_knows_only_label_values() -> None:
    maps = torch.tensor([[[OUTSIDE, 0, 1], [2, -1, 1]]], dtype=torch.int16)
    assert one_hot(maps, 2, 1).tolist() == [[[[0, 0, 1], [0, 0, 1]], [[0, 0, 0], [1, 0, 0]]]]
    assert one_hot(maps[0], 2, 0).shape == (2, 2, 3)


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    label = np.zeros((20, 20, 20), np.int16)
    label[4:12, 4:12, 4:12], label[12:16, 4:12, 4:12] = 1, 2
    made = make_sample(rng.normal(size=label.shape), label)
    return [Sample(made.case, made.image, made.label, made.locations, made.annotated, previous=made.label.clone())]


def batches(settings: Augmentation, numbers: range | None = None) -> Batches:
    training = make_training(augmentation=settings.model_dump())
    return Batches(samples(), make_configuration(3), training, torch.device("cpu"), numbers, previous_values=2)


def test_a_batch_has_the_answer_as_its_last_channels() -> None:
    batch = batches(NEVER).make(0)
    assert batch.image.shape == (2, 3, 16, 16, 16)
    for index in (1, 2):
        torch.testing.assert_close(batch.image[:, index], (batch.target == index).float())


def test_a_sample_is_corrupted_alike_whoever_makes_it() -> None:
    whole = batches(ALWAYS).make(5)
    part = batches(ALWAYS, range(1, 2)).make(5)
    assert torch.equal(whole.image[1:], part.image)
    assert not torch.equal(whole.image, batches(ALWAYS).make(6).image)
    changed = [batches(ALWAYS).make(step) for step in range(4)]
    assert any(not torch.equal(one.image[:, 1], (one.target == 1).float()) for one in changed)
    plain = batches(NEVER).make(5)
    assert torch.equal(whole.image[:, 0], plain.image[:, 0])  # nothing else is drawn otherwise
    assert torch.equal(whole.target, plain.target)
