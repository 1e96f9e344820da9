"""Patches: geometry against slicing and numpy's rot90, intensities against formulas and nnU-Net's distributions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_augmentation, make_configuration, make_sample
from numpy.typing import NDArray
from scipy import ndimage, stats

from medseg.labels import IGNORE
from medseg.preprocessing.cache import Sample
from medseg.preprocessing.volume import OUTSIDE
from medseg.training.augment import augment, gather
from medseg.training.sampling import Draw, generator, rotation

CPU = torch.device("cpu")
UNLIKELY = 1e-4
SHAPE = (9, 10, 11)


# --- gather ---


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
    sample: Sample, start: tuple[int, int, int], size: Sequence[int], matrix: NDArray | None
) -> tuple[NDArray, NDArray]:
    image, label = gather(sample, Draw(0, start, matrix), size, CPU)
    assert image.shape == (1, *size)
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
    mine, mine_label = cut(sample, start, size, None)
    np.testing.assert_array_equal(mine, sliced(image, start, size, 0))
    np.testing.assert_array_equal(mine_label, sliced(label, start, size, OUTSIDE))


@pytest.mark.parametrize(("start", "size"), PLACES)
def test_a_rotation_by_nothing_is_a_slice_too(start: tuple[int, int, int], size: Sequence[int]) -> None:
    sample, image, label = random_sample()
    mine, mine_label = cut(sample, start, size, np.eye(3))
    np.testing.assert_allclose(mine, sliced(image, start, size, 0), atol=1e-5)
    np.testing.assert_array_equal(mine_label, sliced(label, start, size, OUTSIDE))


@pytest.mark.parametrize("matrix", [None, np.eye(3)], ids=["sliced", "sampled"])
def test_beyond_a_sparsely_annotated_volume_nothing_is_known(matrix: NDArray | None) -> None:
    sample, image, label = random_sample()
    sparse = replace(sample, annotated=torch.arange(3))
    mine, mine_label = cut(sparse, (-3, -3, -3), (15, 16, 17), matrix)
    np.testing.assert_allclose(mine, sliced(image, (-3, -3, -3), (15, 16, 17), 0), atol=1e-5)
    np.testing.assert_array_equal(mine_label, sliced(label, (-3, -3, -3), (15, 16, 17), IGNORE))


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quarter_turns_are_numpys(axis: int, turns: int, size: int) -> None:
    sample, image, label = random_sample((12, 12, 12))
    degrees = [0.0, 0.0, 0.0]
    degrees[axis] = 90.0 * turns
    plane = tuple(other for other in range(3) if other != axis)
    for start in ((3, 2, 4), (8, -2, 3)):  # inside, and sticking out on two sides
        mine, mine_label = cut(sample, start, [size] * 3, rotation(degrees))
        np.testing.assert_allclose(mine, np.rot90(sliced(image, start, [size] * 3, 0), -turns, plane), atol=1e-5)
        np.testing.assert_array_equal(mine_label, np.rot90(sliced(label, start, [size] * 3, OUTSIDE), -turns, plane))


def test_a_scale_above_one_shows_more_of_the_volume() -> None:
    sample, image, label = random_sample((15, 15, 15))
    mine, mine_label = cut(sample, (5, 5, 5), [5, 5, 5], np.eye(3) * 2)
    np.testing.assert_allclose(mine, image[3:12:2, 3:12:2, 3:12:2], atol=1e-5)
    np.testing.assert_array_equal(mine_label, label[3:12:2, 3:12:2, 3:12:2])


def test_an_oblique_patch_equals_scipys_interpolation() -> None:
    sample, image, label = random_sample((14, 15, 16))
    matrix = rotation([20.0, -15.0, 35.0]) @ np.diag([1.2, 1.2, 1.2])
    start, size = (4, 4, 5), (6, 5, 7)
    centre = np.array(start) + (np.array(size) - 1) / 2
    offset = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"))
    where = np.tensordot(matrix, offset, axes=1) + centre[:, None, None, None]
    mine, mine_label = cut(sample, start, size, matrix)
    np.testing.assert_allclose(mine, ndimage.map_coordinates(image, where, order=1, mode="constant"), atol=1e-4)
    np.testing.assert_array_equal(
        mine_label, ndimage.map_coordinates(label, where, order=0, mode="constant", cval=OUTSIDE)
    )


def test_what_a_rotated_patch_sees_beyond_the_volume_is_zero_and_outside() -> None:
    sample = make_sample(np.ones((8, 8, 8)), np.ones((8, 8, 8)))
    image, label = cut(sample, (0, 0, 0), (8, 8, 8), rotation([45.0]))
    corner = (slice(None), [0, 0, -1, -1], [0, -1, 0, -1])
    assert not image[corner].any()
    assert (label[corner] == OUTSIDE).all()
    assert (image[:, 3:5, 3:5] > 0.999).all()
    assert set(np.unique(label)) == {OUTSIDE, 1}


def test_a_slice_of_a_volume_is_turned_within_itself() -> None:
    sample, image, label = random_sample((5, 12, 12))
    mine, mine_label = cut(sample, (3, 2, 3), [1, 6, 6], rotation([90.0]))
    np.testing.assert_allclose(mine[0], np.rot90(image[3, 2:8, 3:9], -1), atol=1e-5)
    np.testing.assert_array_equal(mine_label[0], np.rot90(label[3, 2:8, 3:9], -1))


def test_the_volume_is_not_changed() -> None:
    sample, image, label = random_sample()
    for matrix in (None, rotation([30.0])):
        patch, patch_label = gather(sample, Draw(0, (1, 1, 1), matrix), (4, 4, 4), CPU)
        augment(patch[None], patch_label[None], make_augmentation(), make_configuration(3), [generator(0, 0, 0)])
    np.testing.assert_array_equal(sample.image[0].numpy(), image)
    np.testing.assert_array_equal(sample.label.numpy(), label)


# --- intensities ---


def run(
    image: torch.Tensor, seed: int = 0, mirror_axes: Sequence[int] = (), in_plane_only: bool = False, **settings: Any
) -> torch.Tensor:
    """Augmented intensities, each sample with its own generator."""
    dimensions = image.ndim - 2
    configuration = make_configuration(dimensions, mirror_axes=list(mirror_axes), in_plane_only=in_plane_only)
    random = [generator(seed, 0, number) for number in range(len(image))]
    label = torch.zeros(len(image), *image.shape[2:], dtype=torch.int16)
    before = image.clone()
    result, _ = augment(image, label, make_augmentation(**settings), configuration, random)
    torch.testing.assert_close(image, before, rtol=0, atol=0)
    return result


def batch(samples: int = 600, channels: int = 2, shape: Sequence[int] = (12, 12), seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(samples, channels, *shape, generator=source) + 0.3


def touched(before: torch.Tensor, after: torch.Tensor) -> NDArray[np.bool_]:
    """(sample, channel): whether anything changed."""
    return (before != after).flatten(2).any(2).numpy()


def assert_share(found: NDArray[np.bool_], probability: float) -> None:
    assert stats.binomtest(int(found.sum()), found.size, probability).pvalue > UNLIKELY


@pytest.mark.parametrize("dimensions", [2, 3])
def test_nothing_happens_where_every_probability_is_zero(dimensions: int) -> None:
    image = batch(4, shape=(6,) * dimensions)
    torch.testing.assert_close(run(image), image, rtol=0, atol=0)


WHOLE_SAMPLES = {
    "noise_probability": 0.1,
    "brightness_probability": 0.15,
    "contrast_probability": 0.15,
    "gamma_probability": 0.3,
    "gamma_inverted_probability": 0.1,
}
BY_CHANNEL = {"blur_probability": 0.2, "low_resolution_probability": 0.25}


@pytest.mark.parametrize(("name", "probability"), WHOLE_SAMPLES.items())
def test_share_of_samples_that_are_touched_in_all_channels(name: str, probability: float) -> None:
    image = batch()
    found = touched(image, run(image, **{name: probability}))
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert_share(found[:, 0], probability)


@pytest.mark.parametrize(("name", "probability"), BY_CHANNEL.items())
def test_share_of_samples_that_are_touched_in_half_of_their_channels(name: str, probability: float) -> None:
    image = batch()
    found = touched(image, run(image, **{name: probability}))
    assert_share(found.any(1), probability * 0.75)
    assert_share(found[:, 0], probability * 0.5)
    assert_share(found.all(1), probability * 0.25)


@pytest.mark.parametrize("name", [*WHOLE_SAMPLES, *BY_CHANNEL])
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    image = batch(6, shape=(5, 6, 7))
    together = run(image, **{name: 0.7})
    configuration = make_configuration(3, mirror_axes=[])
    for number in range(len(image)):
        one, label = image[number : number + 1], torch.zeros(1, 5, 6, 7, dtype=torch.int16)
        alone, _ = augment(one, label, make_augmentation(**{name: 0.7}), configuration, [generator(0, 0, number)])
        torch.testing.assert_close(alone[0], together[number], rtol=1e-5, atol=1e-6)


def test_noise_has_an_even_standard_deviation_that_the_channels_share() -> None:
    image = batch(400, 2, (40, 40))
    noise = (run(image, noise_probability=1.0) - image).flatten(2)
    std = noise.std(2)
    assert stats.kstest(std[:, 0].numpy(), stats.uniform(0, 0.1).cdf).pvalue > UNLIKELY
    assert float((std[:, 0] / std[:, 1] - 1).abs().max()) < 0.15
    assert float((noise.mean(2).abs() / std).max()) < 0.15
    assert abs(np.corrcoef(noise[0].numpy())[0, 1]) < 0.1


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7), (1, 9, 2)])
def test_blur_equals_scipys_filter(shape: tuple[int, ...], sigma: float) -> None:
    image = batch(20, 1, shape)
    result = run(image, blur_probability=1.0, blur_sigma_voxels=[sigma, sigma])
    found = touched(image, result)
    assert 0 < found.sum() < len(image)
    radius = [int(np.ceil(3 * sigma)) if size > 1 else 0 for size in shape]
    for number in np.flatnonzero(found):
        expected = ndimage.gaussian_filter(image[number, 0].numpy(), sigma, mode="mirror", radius=radius)
        np.testing.assert_allclose(result[number, 0].numpy(), expected, atol=1e-5)


def test_blur_has_a_width_of_its_own_along_each_axis() -> None:
    image = torch.zeros(300, 1, 9, 9)
    image[:, 0, 4, 4] = 1
    result = run(image, blur_probability=1.0)[touched(image, run(image, blur_probability=1.0))[:, 0]][:, 0]
    ratios = [result[:, 4, 4] / result[:, 3, 4], result[:, 4, 4] / result[:, 4, 3]]  # exp(1 / (2 sigma^2))
    for ratio in ratios:
        sigma = (0.5 / ratio.log()).sqrt().numpy()
        assert stats.kstest(sigma, stats.uniform(0.5, 0.5).cdf).pvalue > UNLIKELY
    assert float((ratios[0] / ratios[1] - 1).abs().min()) > 0


def test_a_blur_of_no_width_changes_nothing() -> None:
    image = batch(10, 1)
    torch.testing.assert_close(run(image, blur_probability=1.0, blur_sigma_voxels=[0.0, 0.0]), image, rtol=0, atol=0)


def two_sided(values: NDArray[np.float64], low: float, high: float) -> None:
    """Below one half the time, and even on both sides."""
    below, above = values[values < 1], values[values >= 1]
    assert stats.binomtest(len(below), len(values), 0.5).pvalue > UNLIKELY
    assert stats.kstest(below, stats.uniform(low, 1 - low).cdf).pvalue > UNLIKELY
    assert stats.kstest(above, stats.uniform(1, high - 1).cdf).pvalue > UNLIKELY


def test_brightness_multiplies_each_channel() -> None:
    image = batch()
    factors = run(image, brightness_probability=1.0) / image
    torch.testing.assert_close(factors, factors[..., :1, :1].expand_as(factors), rtol=1e-4, atol=1e-4)
    two_sided(factors[..., 0, 0].flatten().double().numpy(), 0.75, 1.25)
    assert abs(np.corrcoef(factors[:, :, 0, 0].numpy().T)[0, 1]) < 0.2


def test_contrast_spreads_around_the_mean_within_the_old_range() -> None:
    image = batch(shape=(20, 20))
    result = run(image, contrast_probability=1.0)
    mean, low, high = (
        image.mean((2, 3), keepdim=True),
        image.amin((2, 3), keepdim=True),
        image.amax((2, 3), keepdim=True),
    )
    inner = (image - mean).abs().flatten(2).argsort(2)[:, :, 100]  # a voxel that no factor takes to the old range
    factors = ((result - mean) / (image - mean)).flatten(2).gather(2, inner[..., None])
    two_sided(factors.flatten().double().numpy(), 0.75, 1.25)
    stretched = (image - mean) * factors[..., None] + mean
    torch.testing.assert_close(result, stretched.maximum(low).minimum(high), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("limits", "low", "high"), [([1.2, 1.5], 1.2, 1.5), ([0.5, 0.8], 0.5, 0.8), ([1.0, 1.3], 1.0, 1.3)]
)
def test_limits_on_one_side_of_one_are_kept(limits: list[float], low: float, high: float) -> None:
    image = batch(200, 1)
    factors = (run(image, brightness_probability=1.0, brightness_factor=limits) / image)[:, 0, 0, 0].double().numpy()
    assert stats.kstest(factors, stats.uniform(low, high - low).cdf).pvalue > UNLIKELY


def test_low_resolution_by_hand() -> None:
    image = torch.arange(4.0).expand(20, 1, 4, 4).clone()
    result = run(image, low_resolution_probability=1.0, low_resolution_zoom=[0.5, 0.5])
    found = touched(image, result)[:, 0]
    assert 0 < found.sum() < 20
    # voxels 1 and 3 are kept, and a line drawn between them
    expected = torch.tensor([1.0, 1.5, 2.5, 3.0]).expand(int(found.sum()), 1, 4, 4)
    torch.testing.assert_close(result[found], expected)


def test_low_resolution_can_leave_the_slices_apart() -> None:
    image = torch.arange(6.0)[:, None, None].expand(20, 1, 6, 4, 4).clone()
    settings = {"low_resolution_probability": 1.0, "low_resolution_zoom": [0.5, 0.5]}
    torch.testing.assert_close(run(image, in_plane_only=True, **settings), image)
    assert touched(image, run(image, **settings)).any()


def test_low_resolution_loses_more_the_smaller_the_zoom() -> None:
    image = batch(100, 1, (24, 24))
    spread = []
    for zoom in (0.3, 0.6, 1.0):
        result = run(image, low_resolution_probability=1.0, low_resolution_zoom=[zoom, zoom])
        spread.append(float((result - image).square().mean()))
    assert spread[0] > spread[1] > spread[2] == 0


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_is_a_power_within_the_range_that_keeps_mean_and_deviation(inverted: bool) -> None:
    image = batch(5, shape=(10, 10))
    name = "gamma_inverted_probability" if inverted else "gamma_probability"
    result = run(image, **{name: 1.0}, gamma_range=[1.3, 1.3])
    source = -image if inverted else image
    low, high = source.amin((2, 3), keepdim=True), source.amax((2, 3), keepdim=True)
    changed = ((source - low) / (high - low)) ** 1.3
    std, mean = torch.std_mean(source, (2, 3), keepdim=True)
    new_std, new_mean = torch.std_mean(changed, (2, 3), keepdim=True)
    expected = (changed - new_mean) / new_std * std + mean
    torch.testing.assert_close(result, -expected if inverted else expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(result.mean((2, 3)), image.mean((2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(result.std((2, 3)), image.std((2, 3)), rtol=1e-3, atol=1e-4)


def test_gamma_is_drawn_on_both_sides_of_one() -> None:
    image = torch.linspace(0, 1, 101).expand(500, 1, 1, 101).clone()
    result = run(image, gamma_probability=1.0)
    rise = (result - result[..., :1]) / (result[..., -1:] - result[..., :1])
    two_sided((rise[:, 0, 0, 50].double().log() / np.log(0.5)).numpy(), 0.7, 1.5)


def test_a_constant_patch_stays_constant_and_finite() -> None:
    image = torch.full((30, 1, 6, 6), 2.0)
    every = {
        name: 1.0
        for name in [*WHOLE_SAMPLES, *BY_CHANNEL]
        if name not in ("noise_probability", "brightness_probability")
    }
    torch.testing.assert_close(run(image, **every), image, rtol=1e-4, atol=1e-4)


# --- mirroring ---


def test_each_axis_is_mirrored_half_of_the_time_and_the_label_with_the_image() -> None:
    image = torch.arange(24.0).reshape(2, 3, 4).expand(800, 1, 2, 3, 4).clone()
    label = image[:, 0].to(torch.int16)
    copy = label.clone()
    configuration = make_configuration(3, mirror_axes=[0, 2])
    random = [generator(1, 0, number) for number in range(800)]
    result, mirrored = augment(image, label, make_augmentation(), configuration, random)
    torch.testing.assert_close(label, copy, rtol=0, atol=0)
    torch.testing.assert_close(result[:, 0].to(torch.int16), mirrored, rtol=0, atol=0)
    flips = []
    for one in mirrored:
        z, x = bool(one[0, 0, 0] >= 12), bool(one[0, 0, 0] % 4 == 3)
        axes = [axis for axis, flipped in ((0, z), (2, x)) if flipped]
        torch.testing.assert_close(one.flip(axes) if axes else one, copy[0], rtol=0, atol=0)
        flips.append((z, x))
    assert stats.chisquare([flips.count(flip) for flip in ((0, 0), (0, 1), (1, 0), (1, 1))]).pvalue > UNLIKELY
