"""Matrices along axes: against scipy's filter and torch's interpolation, line by line."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from medseg.training.data.axis_filters import along_axes, blur, low_resolution


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0, 4.0])
def test_blur_is_a_gaussian_that_is_mirrored_at_the_ends(size: int, sigma: float) -> None:
    line = np.random.default_rng(0).normal(size=size)
    expected = line
    if size > 1 and sigma > 0:
        expected = ndimage.gaussian_filter1d(line, sigma, mode="mirror", radius=int(np.ceil(3 * sigma)))
    np.testing.assert_allclose(blur(size, sigma) @ line, expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 13, 40])
@pytest.mark.parametrize("zoom", [0.01, 0.3, 0.5, 0.77, 1.0])
def test_low_resolution_is_nearest_down_and_linear_up(size: int, zoom: float) -> None:
    line = torch.randn(1, 1, size, generator=torch.Generator().manual_seed(0))
    small = functional.interpolate(line, size=max(1, round(size * zoom)), mode="nearest-exact")
    expected = functional.interpolate(small, size=size, mode="linear")[0, 0].numpy()
    np.testing.assert_allclose(low_resolution(size, zoom) @ line[0, 0].numpy(), expected, atol=1e-5)
    turned = low_resolution(size, zoom, mirrored=True) @ line[0, 0].flip(0).numpy()
    np.testing.assert_allclose(turned, expected[::-1], atol=1e-5)


def test_every_image_is_multiplied_along_every_axis_with_its_own_matrix() -> None:
    rng = np.random.default_rng(0)
    for shape in ((4, 5), (3, 4, 5)):
        images = rng.normal(size=(2, *shape))
        matrices = [rng.normal(size=(2, size, size)) for size in shape]
        expected = images
        for axis, matrix in enumerate(matrices, start=1):
            expected = np.moveaxis(
                np.stack([np.tensordot(matrix[n], expected[n], (1, axis - 1)) for n in range(2)]), 1, axis
            )
        filtered = along_axes(torch.from_numpy(images), *(torch.from_numpy(matrix) for matrix in matrices))
        np.testing.assert_allclose(filtered.numpy(), expected)
