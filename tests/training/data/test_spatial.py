"""Patches: geometry against slicing, numpy's rot90 and scipy's interpolation, in both ways of turning them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import make_sample
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.labels import IGNORE, OUTSIDE
from medseg.preprocessing.cache import Sample
from medseg.training.data.sampling import Draw, rotation
from medseg.training.data.spatial import crop, gather, resample_in_boxes, resample_in_volume

CPU = torch.device("cpu")
SHAPE = (9, 10, 11)
WAYS = [resample_in_volume, resample_in_boxes]


def random_sample(shape: Sequence[int] = SHAPE) -> tuple[Sample, NDArray[np.float32], NDArray[np.int16]]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=shape).astype(np.float32)
    label = rng.integers(0, 3, size=shape).astype(np.int16)
    return make_sample(image, label), image, label


def sliced(array: NDArray, start: Sequence[int], size: Sequence[int], fill: float) -> NDArray:
    """The box, cut out of the array with a wide margin around it."""
    margin = 40
    wide = np.pad(array, margin, constant_values=fill)
    return wide[tuple(slice(low + margin, low + margin + length) for low, length in zip(start, size, strict=True))]


def cut(
    sample: Sample,
    start: tuple[int, int, int],
    size: Sequence[int],
    matrix: NDArray | None,
    mirrored: tuple[bool, bool, bool] = (False, False, False),
    way: object = resample_in_volume,
) -> tuple[NDArray, NDArray]:
    """A patch; a turned one in one of two ways, into the middle of a batch of three."""
    draw = Draw(0, start, matrix, mirrored)
    if matrix is None or way is resample_in_volume:
        patches = gather([sample], [draw], size, CPU)
        image, label = patches.image[0], patches.maps[0][0]
    else:
        patches = crop([sample] * 3, [None] * 3, size, CPU)
        resample_in_boxes([sample], [draw], [1], patches)
        image, label = patches.image[1], patches.maps[0][1]
        assert not patches.image[[0, 2]].any()
    assert image.shape == (len(sample.image), *size)
    assert label.shape == tuple(size)
    assert label.dtype == torch.int16
    return image[0].numpy(), label.numpy()


PLACES = [
    ((2, 3, 1), (4, 5, 6)),
    ((0, 0, 0), SHAPE),
    ((-2, 3, 8), (5, 4, 6)),
    ((-3, -3, -3), (15, 16, 17)),
    ((20, 2, 2), (4, 4, 4)),
    ((2, -30, 2), (4, 4, 4)),
]


@pytest.mark.parametrize(("start", "size"), PLACES)
def test_an_unrotated_patch_is_a_slice(start: tuple[int, int, int], size: Sequence[int]) -> None:
    sample, image, label = random_sample()
    result, mine_label = cut(sample, start, size, None)
    np.testing.assert_array_equal(result, sliced(image, start, size, 0))
    np.testing.assert_array_equal(mine_label, sliced(label, start, size, OUTSIDE))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("start", "size"), PLACES)
def test_a_rotation_by_nothing_is_a_slice_too(start: tuple[int, int, int], size: Sequence[int], way: object) -> None:
    sample, image, label = random_sample()
    result, mine_label = cut(sample, start, size, np.eye(3), way=way)
    np.testing.assert_allclose(result, sliced(image, start, size, 0), atol=1e-5)
    np.testing.assert_array_equal(mine_label, sliced(label, start, size, OUTSIDE))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("matrix", [None, np.eye(3)], ids=["sliced", "sampled"])
def test_beyond_a_sparsely_annotated_volume_nothing_is_known(matrix: NDArray | None, way: object) -> None:
    sample, image, label = random_sample()
    sparse = replace(sample, annotated=torch.arange(3))
    result, mine_label = cut(sparse, (-3, -3, -3), (15, 16, 17), matrix, way=way)
    np.testing.assert_allclose(result, sliced(image, (-3, -3, -3), (15, 16, 17), 0), atol=1e-5)
    np.testing.assert_array_equal(mine_label, sliced(label, (-3, -3, -3), (15, 16, 17), IGNORE))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quarter_turns_are_numpys(axis: int, turns: int, size: int, way: object) -> None:
    sample, image, label = random_sample((12, 12, 12))
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 90.0 * turns
    plane = tuple(other for other in range(3) if other != axis)
    for start in ((3, 2, 4), (8, -2, 3)):  # inside, and sticking out on two sides
        result, mine_label = cut(sample, start, [size] * 3, rotation(degrees), way=way)
        np.testing.assert_allclose(result, np.rot90(sliced(image, start, [size] * 3, 0), -turns, plane), atol=1e-5)
        np.testing.assert_array_equal(mine_label, np.rot90(sliced(label, start, [size] * 3, OUTSIDE), -turns, plane))


@pytest.mark.parametrize("way", WAYS)
def test_a_scale_above_one_shows_more_of_the_volume(way: object) -> None:
    sample, image, label = random_sample((15, 15, 15))
    result, mine_label = cut(sample, (5, 5, 5), [5, 5, 5], np.eye(3) * 2, way=way)
    np.testing.assert_allclose(result, image[3:12:2, 3:12:2, 3:12:2], atol=1e-5)
    np.testing.assert_array_equal(mine_label, label[3:12:2, 3:12:2, 3:12:2])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mirrored", [(False, False, False), (True, False, True)])
@pytest.mark.parametrize("start", [(4, 4, 5), (-2, 6, 11)])
def test_an_oblique_patch_equals_scipys_interpolation(
    start: tuple[int, int, int], mirrored: tuple[bool, bool, bool], way: object
) -> None:
    """The image linearly; the label as the largest of its interpolated one-hot maps, what lies outside among them."""
    sample, image, label = random_sample((14, 15, 16))
    label[:, :, :4] = OUTSIDE
    label[:4] = IGNORE
    sample = make_sample(image, label)
    matrix = rotation([20.0, -15.0, 35.0]) @ np.diag([1.2, 1.2, 1.2])
    size = (6, 5, 7)
    centre = np.array(start) + (np.array(size) - 1) / 2
    offset = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"))
    where = np.tensordot(matrix, offset, axes=1) + centre[:, None, None, None]
    flipped = [axis for axis in range(3) if mirrored[axis]]
    result, mine_label = cut(sample, start, size, matrix, mirrored, way)
    wanted = ndimage.map_coordinates(np.pad(image, 20), where + 20, order=1)
    np.testing.assert_allclose(result, np.flip(wanted, flipped), atol=1e-4)
    values = [OUTSIDE, IGNORE, 0, 1, 2]
    wide = np.pad(label, 20, constant_values=OUTSIDE)
    votes = [ndimage.map_coordinates((wide == value).astype(float), where + 20, order=1) for value in values]
    np.testing.assert_array_equal(mine_label, np.flip(np.array(values)[np.argmax(votes, 0)], flipped))


@pytest.mark.parametrize("way", WAYS)
def test_what_a_rotated_patch_sees_beyond_the_volume_is_zero_and_outside(way: object) -> None:
    sample = make_sample(np.ones((8, 8, 8)), np.ones((8, 8, 8)))
    image, label = cut(sample, (0, 0, 0), (8, 8, 8), rotation([45.0]), way=way)
    corner = (slice(None), [0, 0, -1, -1], [0, -1, 0, -1])
    assert not image[corner].any()
    assert (label[corner] == OUTSIDE).all()
    assert (image[:, 3:5, 3:5] > 0.999).all()
    assert set(np.unique(label)) == {OUTSIDE, 1}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("slice_", [0, 3, 4])
def test_a_slice_of_a_volume_is_turned_within_itself(slice_: int, way: object) -> None:
    sample, image, label = random_sample((5, 12, 12))
    result, mine_label = cut(sample, (slice_, 2, 3), [1, 6, 6], rotation([90.0]), way=way)
    np.testing.assert_allclose(result[0], np.rot90(image[slice_, 2:8, 3:9], -1), atol=1e-5)
    np.testing.assert_array_equal(mine_label[0], np.rot90(label[slice_, 2:8, 3:9], -1))


@pytest.mark.parametrize("start", [(2, 3, 1), (-2, 3, 8), (20, 2, 2)])
@pytest.mark.parametrize("mirrored", [(True, False, False), (False, True, True), (True, True, True)])
def test_a_mirrored_patch_is_the_same_turned_round(
    mirrored: tuple[bool, bool, bool], start: tuple[int, int, int]
) -> None:
    sample, _, _ = random_sample()
    flipped = [axis for axis in range(3) if mirrored[axis]]
    for matrix in (None, rotation([25.0, 10.0, -5.0])):
        plain = cut(sample, start, (4, 5, 6), matrix)
        for result, before in zip(cut(sample, start, (4, 5, 6), matrix, mirrored), plain, strict=True):
            np.testing.assert_allclose(result, np.flip(before, flipped), atol=0 if matrix is None else 1e-5)


def test_turning_by_nothing_copies_to_the_bit() -> None:
    sample, image, _ = random_sample()
    np.testing.assert_array_equal(
        cut(sample, (-1, 2, 3), (5, 6, 7), np.eye(3))[0], sliced(image, (-1, 2, 3), (5, 6, 7), 0)
    )


@pytest.mark.parametrize("turned", [None, rotation([30.0, 0.0, 10.0])])
@pytest.mark.parametrize("way", WAYS)
def test_channels_and_the_previous_stage_go_the_same_way(turned: NDArray | None, way: object) -> None:
    sample, image, label = random_sample()
    both = torch.from_numpy(np.stack([image, image * 2]))
    sample = replace(sample, image=both, previous=torch.from_numpy(label + 5))
    draw = Draw(0, (-1, 2, 3), turned, (False, True, False))
    patches = gather([sample, sample], [draw, draw], (5, 6, 7), CPU)
    if way is resample_in_boxes and turned is not None:
        resample_in_boxes([sample, sample], [draw, draw], [0, 1], patches)
    assert patches.image.shape == (2, 2, 5, 6, 7)
    torch.testing.assert_close(patches.image[:, 1], patches.image[:, 0] * 2)
    now, before = patches.maps
    torch.testing.assert_close(before, torch.where(now == OUTSIDE, now, now + 5), rtol=0, atol=0)
    assert (now == OUTSIDE).any()


def test_both_ways_agree_on_random_draws_of_several_volumes() -> None:
    rng = np.random.default_rng(1)
    samples = [random_sample(shape)[0] for shape in ((9, 10, 11), (20, 6, 15), (12, 12, 12))]
    draws = [
        Draw(
            0,
            tuple(rng.integers(-3, 6, 3)),
            rotation(rng.uniform(-40, 40, 3)) * rng.uniform(0.7, 1.4),
            (True, False, True),
        )
        for _ in samples
    ]
    one = gather(samples, draws, (8, 9, 7), CPU)
    other = crop(samples, [None] * 3, (8, 9, 7), CPU)
    resample_in_boxes(samples, draws, range(3), other)
    torch.testing.assert_close(one.image, other.image, rtol=1e-4, atol=1e-4)
    assert float((one.maps[0] == other.maps[0]).float().mean()) > 0.999  # ties by rounding


def turned_there_and_back(label: NDArray[np.int16], degrees: Sequence[float], nearest: bool) -> NDArray[np.int16]:
    """A label map turned, and turned back."""
    size, start = label.shape, (0, 0, 0)
    for matrix in (rotation(degrees), rotation(degrees).T):
        if nearest:
            half = (np.array(size) - 1) / 2
            label = ndimage.affine_transform(label, matrix, half - matrix @ half, order=0)
        else:
            label = cut(make_sample(np.zeros(size), label), start, size, matrix)[1]
            label = np.where(label < 0, 0, label).astype(np.int16)
    return label


def dice(one: NDArray, other: NDArray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def test_labels_survive_a_rotation_there_and_back() -> None:
    """Two halves of an ellipsoid of the size of a hippocampus (12 x 30 x 14 voxels), over turns up to 30 degrees."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (32, 48, 32)), indexing="ij")
    inside = (z / 6) ** 2 + (y / 15) ** 2 + (x / 7) ** 2 < 1
    label = np.where(inside, np.where(y < 0, 1, 2), 0).astype(np.int16)
    rng = np.random.default_rng(0)
    turns = rng.uniform(-30, 30, (12, 3))
    found = {
        nearest: [
            dice(turned_there_and_back(label, degrees, nearest) == value, label == value)
            for degrees in turns
            for value in (1, 2)
        ]
        for nearest in (False, True)
    }
    assert np.mean(found[False]) > 0.985
    assert np.min(found[False]) > 0.98
    assert np.mean(found[False]) > np.mean(found[True]) + 0.008


def test_the_volume_is_not_changed() -> None:
    sample, image, label = random_sample()
    for matrix in (None, rotation([30.0])):
        patches = gather([sample], [Draw(0, (1, 1, 1), matrix)], (4, 4, 4), CPU)
        patches.image.fill_(7)
        patches.maps[0].fill_(7)
    np.testing.assert_array_equal(sample.image[0].numpy(), image)
    np.testing.assert_array_equal(sample.label.numpy(), label)


def test_patches_that_several_threads_cut_are_those_of_one() -> None:
    """For a device that is not the host; None leaves a patch empty."""
    random = np.random.default_rng(0)
    samples = [make_sample(random.normal(size=(9, 8, 7)), random.integers(0, 3, (9, 8, 7))) for _ in range(5)]
    boxes = [((-2, 1, 3), (True, False, True)), ((4, 4, 4), (False, False, False)), None, ((0, 0, 0), (True,) * 3)] * 2
    chosen = (samples * 2)[: len(boxes)]
    one, several = (crop(chosen, boxes, (6, 6, 6), torch.device(kind)) for kind in ("cpu", "meta"))
    empty = [number for number, box in enumerate(boxes) if box is None]
    cut = [number for number, box in enumerate(boxes) if box is not None]
    assert torch.equal(one.image, several.image)
    assert not several.image[empty].any()
    assert torch.equal(one.maps[0][cut], several.maps[0][cut])
