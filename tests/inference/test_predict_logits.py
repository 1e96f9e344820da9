"""The sliding window against a plain stitching of the same tiles, one at a time, in float64."""

from collections.abc import Sequence
from itertools import combinations, product
from math import ceil

import numpy as np
import pytest
import torch
from builders import INFERENCE, make_configuration, network_values
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medseg.inference.window_pass import predict_logits
from medseg.networks.table import build_network
from medseg.plans.schema import Configuration
from medseg.plans.sections.inference import Inference


def make_networks(dimensions: int, count: int, channels: int = 2) -> list[torch.nn.Module]:
    """Networks that answer differently for every flip and position."""
    torch.manual_seed(0)
    configuration = make_configuration(dimensions, network=network_values(dimensions, 2))
    return [build_network(configuration, channels, 3) for _ in range(count)]


def stitch(
    networks: Sequence[torch.nn.Module], image: NDArray, configuration: Configuration, inference: Inference
) -> NDArray[np.float64]:
    """Tile by tile, flip by flip and network by network; 2D slice by slice."""
    if configuration.dimensions == 2 and image.ndim == 4:
        slices = [stitch(networks, image[:, z], configuration, inference) for z in range(image.shape[1])]
        return np.stack(slices, axis=1)
    tile = configuration.patch_voxels
    missing = [max(0, size - have) for size, have in zip(tile, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *((amount // 2, amount - amount // 2) for amount in missing)])
    starts = []
    for size, length in zip(padded.shape[1:], tile, strict=True):
        count = ceil((size - length) / (length * inference.step_fraction)) + 1
        starts.append([round((size - length) / max(count - 1, 1) * number) for number in range(count)])
    impulse = np.zeros(tile)
    impulse[tuple(size // 2 for size in tile)] = 1
    weight = gaussian_filter(impulse, [size * inference.gaussian_sigma_fraction for size in tile], mode="constant")
    axes = configuration.mirror_axes if inference.mirror else []
    flips = [tuple(axis + 1 for axis in some) for n in range(len(axes) + 1) for some in combinations(axes, n)]
    total = np.zeros((3, *padded.shape[1:]))
    weights = np.zeros(padded.shape[1:])
    for place in product(*starts):
        window = (slice(None), *(slice(start, start + length) for start, length in zip(place, tile, strict=True)))
        answers = []
        for network, flip in product(networks, flips):
            with torch.inference_mode():
                one = torch.from_numpy(np.ascontiguousarray(np.flip(padded[window], flip)))
                answers.append(np.flip(network.eval()(one[None])[0][0].numpy().astype(np.float64), flip))
        total[window] += np.mean(answers, axis=0) * weight
        weights[window[1:]] += weight
    inner = tuple(slice(n // 2, n // 2 + have) for n, have in zip(missing, image.shape[1:], strict=True))
    return (total / weights)[(slice(None), *inner)]


@pytest.mark.parametrize(("mirror_axes", "tile_batch"), [([], 1), ([0], 3), ([0, 2], 8), ([0, 1, 2], 1)])
@pytest.mark.parametrize("shape", [(8, 8, 8), (13, 8, 17), (5, 11, 8), (3, 5, 7), (1, 9, 20)])
def test_three_dimensions(shape: tuple[int, ...], mirror_axes: list[int], tile_batch: int) -> None:
    configuration = make_configuration(3, patch_voxels=[8, 8, 8], mirror_axes=mirror_axes)
    check(configuration, shape, tile_batch)


@pytest.mark.parametrize(("mirror_axes", "tile_batch"), [([], 4), ([1], 1), ([0, 1], 8)])
@pytest.mark.parametrize("shape", [(1, 8, 16), (3, 13, 17), (4, 5, 20), (2, 3, 3)])
def test_two_dimensions(shape: tuple[int, ...], mirror_axes: list[int], tile_batch: int) -> None:
    configuration = make_configuration(2, patch_voxels=[8, 16], mirror_axes=mirror_axes)
    check(configuration, shape, tile_batch)


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_folds_and_steps(step: float, networks: int) -> None:
    configuration = make_configuration(2, patch_voxels=[8, 8], mirror_axes=[0])
    check(configuration, (2, 15, 12), 3, networks, step)


def check(
    configuration: Configuration, shape: tuple[int, ...], tile_batch: int, networks: int = 1, step: float = 0.5
) -> None:
    values = {**INFERENCE, "mirror": True, "tile_batch": tile_batch, "step_fraction": step}
    inference = Inference.model_validate(values)
    members = make_networks(configuration.dimensions, networks)
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    result = predict_logits(members, torch.from_numpy(image), configuration, inference, torch.float32, 3)
    assert result.dtype == torch.float32
    assert result.shape == (3, *shape)
    np.testing.assert_allclose(result.numpy(), stitch(members, image, configuration, inference), rtol=1e-4, atol=1e-4)


def test_mirroring_can_be_left_out() -> None:
    configuration = make_configuration(3, patch_voxels=[8, 8, 8])
    inference = Inference.model_validate(INFERENCE)
    assert not inference.mirror
    (network,) = make_networks(3, 1)
    image = torch.randn(2, 8, 8, 8)
    with torch.inference_mode():
        direct = network.eval()(image[None])[0][0]
    torch.testing.assert_close(predict_logits([network], image, configuration, inference, torch.float32, 3), direct)


def test_mirrored_answers_are_symmetric() -> None:
    configuration = make_configuration(2, patch_voxels=[8, 8], mirror_axes=[0, 1])
    inference = Inference.model_validate({**INFERENCE, "mirror": True})
    networks = make_networks(2, 1)
    image = torch.randn(2, 1, 8, 8)
    there = predict_logits(networks, image, configuration, inference, torch.float32, 3)
    flipped = predict_logits(networks, image.flip(3), configuration, inference, torch.float32, 3)
    torch.testing.assert_close(flipped.flip(3), there, rtol=1e-4, atol=1e-5)


class Counting(torch.nn.Module):
    """A network that answers with its input and notes how many tiles it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        self.seen.append(len(x))
        return [self.weight * x]


@pytest.mark.parametrize(("tile_batch", "most"), [(1, 1), (3, 3), (8, 8), (20, 20)])
def test_a_network_never_sees_more_tiles_at_once_than_the_plan_says(tile_batch: int, most: int) -> None:
    configuration = make_configuration(3, patch_voxels=[8, 8, 8])
    inference = Inference.model_validate({**INFERENCE, "mirror": True, "tile_batch": tile_batch})
    network, image = Counting(), torch.randn(2, 8, 12, 16)
    result = predict_logits([network], image, configuration, inference, torch.float32, 2)
    torch.testing.assert_close(result, image, rtol=1e-4, atol=1e-5)
    assert sum(network.seen) == 2 * 3 * 8  # tiles times flips
    assert max(network.seen) == most


def test_the_networks_keep_their_mode() -> None:
    configuration = make_configuration(2, patch_voxels=[8, 8])
    (network,) = make_networks(2, 1)
    network.train()
    result = predict_logits(
        [network], torch.randn(2, 1, 8, 8), configuration, Inference.model_validate(INFERENCE), torch.float32, 3
    )
    assert network.training
    assert not result.requires_grad


def test_half_precision_stays_near() -> None:
    configuration = make_configuration(3, patch_voxels=[8, 8, 8])
    inference = Inference.model_validate({**INFERENCE, "mirror": True})
    networks = make_networks(3, 1)
    image = torch.randn(2, 8, 12, 9)
    exact = predict_logits(networks, image, configuration, inference, torch.float32, 3)
    rough = predict_logits(networks, image, configuration, inference, torch.bfloat16, 3)
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.05
