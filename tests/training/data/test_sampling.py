"""What is trained on: positions by hand against nnU-Net's bounds, and the distributions of everything drawn."""

from dataclasses import replace
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_augmentation, make_configuration, make_sample, make_training
from scipy import stats

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.plans.schema import Configuration
from medseg.preprocessing.cache import Sample
from medseg.training.data.sampling import Draw, Sampler, generator, rotation

DRAWS = 1500
UNLIKELY = 1e-4


def cube(patch: int, degrees: float, **others: Any) -> Configuration:
    return make_configuration(3, patch_voxels=[patch] * 3, rotation_degrees=[degrees] * 3, **others)


def empty_sample(shape: tuple[int, ...], weight: float = 1.0) -> Sample:
    return make_sample(np.zeros(shape), np.zeros(shape), weight=weight)


def marked_sample(shape: tuple[int, ...], **voxels: tuple[int, ...]) -> Sample:
    label = np.zeros(shape)
    for value, position in enumerate(voxels.values(), start=1):
        label[position] = value
    return make_sample(np.zeros(shape), label, structures=len(voxels))


def draws(
    samples: list[Sample], configuration: Configuration, number: int = 0, count: int = DRAWS, **augmentation: Any
) -> list[Draw]:
    sampler = Sampler(
        samples, configuration, make_training(augmentation=make_augmentation(**augmentation).model_dump())
    )
    return [sampler.draw(generator(0, step, number), number) for step in range(count)]


def assert_even(values: list[Any], expected: list[Any]) -> None:
    """Every expected value was drawn, none else, and about equally often."""
    assert set(values) == set(expected)
    if len(expected) > 1:
        assert stats.chisquare([values.count(value) for value in expected]).pvalue > UNLIKELY


# --- randomness ---


def test_a_draw_follows_from_seed_step_and_number_alone() -> None:
    sampler = Sampler([marked_sample((20, 20, 20), a=(3, 4, 5))], cube(8, 30), make_training())
    first = sampler.draw(generator(7, 1000, 1), 1)
    for step in range(5):
        sampler.draw(generator(7, step, 0), 0)
    again = Sampler(sampler.samples, sampler.configuration, make_training()).draw(generator(7, 1000, 1), 1)
    assert (first.case, first.start) == (again.case, again.start)


def test_other_seeds_steps_and_numbers_are_other_streams() -> None:
    keys = [(seed, step, number) for seed in (0, 1, 2**40) for step in (0, 1, 250_000) for number in (0, 1, 365)]
    rows = np.array([generator(*key).random(50) for key in keys])
    assert len(np.unique(rows.round(12))) == rows.size
    assert np.abs(np.corrcoef(rows)[np.triu_indices(len(rows), 1)]).max() < 0.7
    np.testing.assert_array_equal(rows, [generator(*key).random(50) for key in keys])


# --- cases ---


def test_cases_are_drawn_by_their_weight() -> None:
    samples = [empty_sample((8, 8, 8), weight) for weight in (3.0, 0.0, 1.0)]
    counts = np.bincount([draw.case for draw in draws(samples, cube(8, 0))], minlength=3)
    assert counts[1] == 0
    assert stats.binomtest(int(counts[0]), DRAWS, 0.75).pvalue > UNLIKELY


def test_weights_that_are_all_zero_leave_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="Every training case has the weight 0"):
        Sampler([empty_sample((8, 8, 8), 0.0)] * 2, cube(8, 0), make_training())


def test_loss_weights_that_are_all_zero_leave_nothing_to_learn() -> None:
    samples = [replace(empty_sample((8, 8, 8)), case=Case("a", "a", (Path("a"),), loss_weight=0.0))]
    with pytest.raises(DataError, match="has the loss_weight 0"):
        Sampler(samples, cube(8, 0), make_training())


def test_cases_are_drawn_equally_often_where_nothing_is_said() -> None:
    samples = [empty_sample(shape) for shape in ((8, 8, 8), (30, 30, 30), (4, 4, 4), (9, 9, 9))]
    assert_even([draw.case for draw in draws(samples, cube(8, 0))], [0, 1, 2, 3])


def test_every_structure_is_drawn_equally_often_with_a_case_in_which_it_was_annotated() -> None:
    known = [None, [True, False], [True, False], [False, False]]
    samples = [replace(empty_sample((8, 8, 8)), structures=None if one is None else torch.tensor(one)) for one in known]
    # the first structure in a third of the cases each, the second in the first case alone: (1/3 + 1) / 2, then 1/6
    counts = np.bincount([draw.case for draw in draws(samples, cube(8, 0))], minlength=4)
    assert stats.chisquare(counts[:3], DRAWS * np.array([4, 1, 1]) / 6).pvalue > UNLIKELY
    assert counts[3] == 0  # it says nothing of either


def test_cases_in_which_nothing_was_annotated_are_drawn_by_their_weight_where_there_are_no_others() -> None:
    samples = [
        replace(empty_sample((8, 8, 8), weight), structures=torch.tensor([weight == 0, False])) for weight in (0.0, 1.0)
    ]
    assert {draw.case for draw in draws(samples, cube(8, 0))} == {1}


def test_weights_count_among_the_cases_of_a_structure() -> None:
    samples = [
        replace(empty_sample((8, 8, 8), weight), structures=torch.tensor([number == 0, True]))
        for number, weight in enumerate((1.0, 3.0, 0.0))
    ]
    counts = np.bincount([draw.case for draw in draws(samples, cube(8, 0))], minlength=3)
    assert stats.binomtest(int(counts[0]), DRAWS, (1 + 1 / 4) / 2).pvalue > UNLIKELY
    assert counts[2] == 0


# --- positions: patch 8; nnU-Net looks at int(8 * (cos 30 + sin 30) / 0.85) = 12 voxels around it ---


@pytest.mark.parametrize(
    ("size", "degrees", "starts"),
    [
        (20, 30, range(0, 13)),  # 12 voxels start from -2 to 20 + 2 - 12; the patch 2 later: from edge to edge
        (9, 30, [0, 1]),
        (5, 30, [-2, -1]),  # 7 missing: from -4 to 5 + 4 - 12
        (8, 0, [-1, 0]),  # int(8 / 0.85) = 9 voxels: from -1 to 8 + 1 - 9
        (20, 0, range(-1, 13)),
        (3, 0, [-3]),  # 6 missing: from -3 to 3 + 3 - 9
    ],
)
def test_free_positions_lie_evenly_within_nnunets_bounds(size: int, degrees: float, starts: list[int]) -> None:
    drawn = draws([empty_sample((size, size, size))], cube(8, degrees))
    for axis in range(3):
        assert_even([draw.start[axis] for draw in drawn], list(starts))


@pytest.mark.parametrize(
    ("voxel", "start"),
    [((10, 10, 10), (6, 6, 6)), ((0, 3, 4), (0, 0, 0)), ((19, 18, 17), (15, 14, 13))],
)
def test_forced_positions_are_centred_on_the_structure(voxel: tuple[int, ...], start: tuple[int, ...]) -> None:
    # 12 voxels from max(-2, voxel - 6), the patch 2 later; the upper end is free to stick out, as in nnU-Net
    drawn = draws([marked_sample((20, 20, 20), a=voxel)], cube(8, 30), number=1, count=5)
    assert {draw.start for draw in drawn} == {start}


def test_two_dimensions_take_any_slice_and_the_structures_slice_if_forced() -> None:
    configuration = make_configuration(2, patch_voxels=[8, 8])
    sample = marked_sample((6, 20, 20), a=(4, 10, 10))
    free = draws([sample], configuration)
    assert_even([draw.start[0] for draw in free], list(range(6)))
    assert_even([draw.start[1] for draw in free], list(range(-1, 13)))  # int(8 / 0.85) = 9, from -1 to 20 + 1 - 9
    forced = draws([sample], configuration, number=1, count=20)
    assert {draw.start for draw in forced} == {(4, 6, 6)}


@pytest.mark.parametrize(
    ("batch_size", "fraction", "forced"),
    [(2, 0.33, [1]), (1, 0.33, []), (9, 0.33, [6, 7, 8]), (4, 1.0, [0, 1, 2, 3]), (4, 0.0, []), (3, 0.5, [2])],
)
def test_the_last_samples_of_a_batch_are_forced(batch_size: int, fraction: float, forced: list[int]) -> None:
    sample = marked_sample((40, 40, 40), a=(20, 21, 22))
    sampler = Sampler([sample], cube(8, 0, batch_size=batch_size), make_training(foreground_fraction=fraction))
    for number in range(batch_size):
        starts = {sampler.draw(generator(0, step, number), number).start for step in range(20)}
        assert (starts == {(16, 17, 18)}) == (number in forced)


def test_structures_are_drawn_equally_often_whatever_their_size() -> None:
    label = np.zeros((20, 20, 20))
    label[2:6, 2:12, 2:12], label[10, 10, 10], label[15, 4, 4] = 1, 2, 3
    drawn = draws([make_sample(label, label, structures=4)], cube(8, 0), number=1)  # the fourth is absent
    structures = [{(6, 6, 6): 2, (11, 0, 0): 3}.get(draw.start, 1) for draw in drawn]
    assert_even(structures, [1, 2, 3])


def test_structures_are_centred_on_as_often_as_they_weigh_whatever_few_cases_have_them() -> None:
    """b is in one case of three and weighs three times as much; c has no weight; the case of weight 0 has b too."""
    cases = [
        marked_sample((20, 20, 20), a=(4, 4, 4)),
        marked_sample((20, 20, 20), a=(4, 4, 4)),
        marked_sample((20, 20, 20), a=(4, 4, 4), b=(12, 12, 12), c=(15, 4, 4)),
    ]
    unused = marked_sample((20, 20, 20), a=(4, 4, 4), b=(12, 12, 12))
    samples = [
        make_sample(sample.image[0].numpy(), sample.label.numpy(), structures=3, weight=weight)
        for sample, weight in zip([*cases, unused], (1.0, 1.0, 1.0, 0.0), strict=True)
    ]
    sampler = Sampler(samples, cube(8, 0), make_training(foreground_fraction=1.0), [1.0, 3.0, 0.0])
    drawn = [sampler.draw(generator(0, step, 0), 0) for step in range(DRAWS)]
    centred = {(0, 0, 0): "a", (8, 8, 8): "b"}
    structures = [centred[one.start] for one in drawn]
    shares = [structures.count(name) for name in "ab"]
    assert stats.chisquare(shares, [DRAWS / 4, DRAWS * 3 / 4]).pvalue > UNLIKELY
    assert {one.case for one, name in zip(drawn, structures, strict=True) if name == "b"} == {2}
    assert_even([one.case for one, name in zip(drawn, structures, strict=True) if name == "a"], [0, 1, 2])


def test_weights_of_structures_that_nobody_has_leave_the_draw_as_it_is() -> None:
    samples = [marked_sample((20, 20, 20), a=(4, 4, 4))]
    samples = [make_sample(samples[0].image[0].numpy(), samples[0].label.numpy(), structures=2)]
    plain, weighed = (Sampler(samples, cube(8, 0), make_training(), weights) for weights in ((), (0.0, 5.0)))
    for number in (0, 1):
        one, other = (sampler.draw(generator(0, 0, number), number) for sampler in (plain, weighed))
        assert (one.case, one.start) == (other.case, other.start)


def test_voxels_of_a_structure_are_drawn_equally_often() -> None:
    label = np.zeros((30, 30, 30))
    label[10:12, 15, 12:16] = 1
    drawn = draws([make_sample(label, label)], cube(8, 0), number=1)
    assert_even([draw.start for draw in drawn], [(z - 4, 11, x - 4) for z in (10, 11) for x in range(12, 16)])


def test_a_case_without_structures_is_taken_anywhere() -> None:
    drawn = draws([empty_sample((12, 12, 12))], cube(8, 0), number=1)
    assert_even([draw.start[2] for draw in drawn], list(range(-1, 5)))


def test_where_voxels_are_ignored_free_patches_are_centred_on_annotated_ones() -> None:
    sample = marked_sample((30, 30, 30), a=(9, 9, 9))
    places = torch.tensor(
        [np.ravel_multi_index((20, 20, 20), (30, 30, 30)), np.ravel_multi_index((9, 9, 9), (30, 30, 30))]
    )
    sample = Sample(sample.case, sample.image, sample.label, sample.locations, places)
    assert_even([draw.start for draw in draws([sample], cube(8, 0))], [(16, 16, 16), (5, 5, 5)])
    assert {draw.start for draw in draws([sample], cube(8, 0), number=1, count=50)} == {(5, 5, 5)}


# --- rotation and scale ---


def test_rotation_and_scaling_happen_independently_with_their_probabilities() -> None:
    drawn = draws([empty_sample((8, 8, 8))], cube(8, 30), rotation_probability=0.2, scaling_probability=0.3)
    matrices = [draw.matrix for draw in drawn]
    none = sum(matrix is None for matrix in matrices)
    assert stats.binomtest(none, DRAWS, 0.8 * 0.7).pvalue > UNLIKELY
    present = [matrix for matrix in matrices if matrix is not None]
    scaled = sum(abs(np.linalg.det(matrix) - 1) > 1e-9 for matrix in present)
    assert stats.binomtest(scaled, DRAWS, 0.3).pvalue > UNLIKELY
    rotated = sum(abs(matrix[0, 1]) > 1e-9 for matrix in present)
    assert stats.binomtest(rotated, DRAWS, 0.2).pvalue > UNLIKELY


def test_nothing_turns_where_the_probabilities_are_zero() -> None:
    assert all(draw.matrix is None for draw in draws([empty_sample((8, 8, 8))], cube(8, 30), count=50))


def test_angles_are_even_within_their_limits_about_each_axis() -> None:
    configuration = make_configuration(3, rotation_degrees=[10.0, 20.0, 30.0])
    matrices = [draw.matrix for draw in draws([empty_sample((8, 8, 8))], configuration, rotation_probability=1.0)]
    angles = []
    for matrix in matrices:
        assert matrix is not None
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        # Rx(c) @ Ry(b) @ Rz(a) with axes z, y, x: b from its sine, the others from two ratios
        b = np.arcsin(matrix[2, 0])
        angles.append([np.arctan2(matrix[2, 1], matrix[2, 2]), b, np.arctan2(matrix[1, 0], matrix[0, 0])])
    for values, limit in zip(np.degrees(angles).T, (10, 20, 30), strict=True):
        assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > UNLIKELY


def test_scales_are_even_within_their_limits_and_equal_on_all_axes() -> None:
    matrices = [draw.matrix for draw in draws([empty_sample((8, 8, 8))], cube(8, 30), scaling_probability=1.0)]
    factors = [float(matrix[0, 0]) for matrix in matrices if matrix is not None]
    assert len(factors) == DRAWS
    np.testing.assert_allclose(np.stack([m for m in matrices if m is not None]), [f * np.eye(3) for f in factors])
    assert stats.kstest(factors, stats.uniform(0.7, 0.7).cdf).pvalue > UNLIKELY


def test_in_plane_only_leaves_the_first_axis_alone() -> None:
    configuration = make_configuration(3, patch_voxels=[4, 16, 16], rotation_degrees=[180.0], in_plane_only=True)
    drawn = draws([empty_sample((6, 20, 20))], configuration, rotation_probability=1.0, scaling_probability=1.0)
    angles = []
    for draw in drawn:
        assert draw.matrix is not None
        np.testing.assert_array_equal(draw.matrix[0], [1, 0, 0])
        np.testing.assert_array_equal(draw.matrix[:, 0], [1, 0, 0])
        angles.append(np.degrees(np.arctan2(draw.matrix[2, 1], draw.matrix[1, 1])))
    assert stats.kstest(angles, stats.uniform(-180, 360).cdf).pvalue > UNLIKELY
    assert_even([draw.start[0] for draw in drawn], [0, 1, 2])  # no slice is looked at beyond the patch


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_turns_the_other_two_axes(axis: int) -> None:
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 25.0
    matrix = rotation(degrees)
    first, second = (other for other in range(3) if other != axis)
    c, s = cos(radians(25)), sin(radians(25))
    expected = np.eye(3)
    expected[[first, second], [first, second]] = c
    expected[first, second], expected[second, first] = -s, s
    np.testing.assert_allclose(matrix, expected)
    np.testing.assert_allclose(rotation([25.0]), rotation([25.0, 0.0, 0.0]))


def test_quarter_turns_by_hand() -> None:
    np.testing.assert_allclose(rotation([90.0]) @ [1, 2, 3], [1, -3, 2], atol=1e-12)
    steps = [rotation([0.0, degrees, 0.0]) for degrees in (0.0, 90.0, 180.0)]
    for before, after in pairwise(steps):
        np.testing.assert_allclose(after, before @ rotation([0.0, 90.0, 0.0]), atol=1e-12)


# --- mirroring ---


@pytest.mark.parametrize(
    ("configuration", "axes"),
    [
        (make_configuration(3, mirror_axes=[0, 2]), [True, False, True]),
        (make_configuration(3, mirror_axes=[]), [False, False, False]),
        (make_configuration(2, mirror_axes=[0]), [False, True, False]),
        (make_configuration(2), [False, True, True]),
    ],
)
def test_each_axis_is_mirrored_half_of_the_time(configuration: Configuration, axes: list[bool]) -> None:
    drawn = [draw.mirrored for draw in draws([empty_sample((8, 20, 20))], configuration)]
    wanted = [tuple(bool(number >> axis & 1) for axis in range(3)) for number in range(8)]
    assert_even(drawn, [flips for flips in wanted if not any(np.array(flips) & ~np.array(axes))])
