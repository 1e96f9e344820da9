"""Intensities: formulas by hand and scipy's, and what images show of nnU-Net's distributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_augmentation
from numpy.typing import NDArray
from scipy import ndimage, stats

from medseg.training.data.augment import Changes, draw_changes
from medseg.training.data.intensity import apply_at_once, apply_changes, apply_row_by_row, row_changes
from medseg.training.data.sampling import generator

UNLIKELY = 1e-4


def drawn(image: torch.Tensor, seed: int = 0, first: int = 0, **settings: Any) -> Changes:
    """Changes of each sample, with its own generator."""
    random = [generator(seed, 0, first + number) for number in range(len(image))]
    return draw_changes(random, make_augmentation(**settings), image.shape[1], image.ndim - 2)


def run(image: torch.Tensor, seed: int = 0, in_plane_only: bool = False, **settings: Any) -> torch.Tensor:
    """Augmented intensities."""
    result = image.clone()
    apply_changes(result, drawn(image, seed, **settings), keep_first_axis=in_plane_only)
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
    for number in range(len(image)):
        alone = image[number : number + 1].clone()
        apply_changes(alone, drawn(alone, first=number, **{name: 0.7}))
        # sums of up to some ten products, which another number of rows may take in another order
        torch.testing.assert_close(alone[0], together[number], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 10), (5, 6, 7)])
def test_all_rows_at_once_are_what_each_is_by_itself(shape: tuple[int, ...]) -> None:
    image = batch(6, shape=shape).flatten(0, 1)
    mirrored = [[number % 2 == 0] * len(shape) for number in range(6)]
    changes = drawn(image.view(6, 2, *shape), **dict.fromkeys([*WHOLE_SAMPLES, *BY_CHANNEL], 0.8))
    results = [image.clone(), image.clone()]
    for run_jobs, result in zip((apply_row_by_row, apply_at_once), results, strict=True):
        run_jobs(result, row_changes(changes, shape, mirrored, False))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
    assert touched(image[:, None], results[0][:, None]).mean() > 0.9


def test_detail_is_lost_as_if_a_patch_were_mirrored_last() -> None:
    image = batch(8, 1, (7, 8))
    changes = drawn(image, low_resolution_probability=1.0)
    plain, turned = image.clone(), image.flip(2)
    apply_changes(plain, changes)
    apply_changes(turned, changes, [(True, False)] * 8)
    torch.testing.assert_close(turned, plain.flip(2))


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
