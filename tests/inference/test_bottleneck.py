"""The deepest layer of a network: which one it is, and what is read from it."""

import numpy as np
import pytest
import torch
from builders import INFERENCE, make_configuration

from medseg.core.image import Orientation
from medseg.inference.bottleneck import deepest_channels
from medseg.plans.sections.inference import Inference
from medseg.preprocessing.volume import Geometry, Volume

BOX = (slice(0, 8), slice(0, 8), slice(0, 8))
GEOMETRY = Geometry(Orientation(), (0, 1, 2), (8, 8, 8), BOX, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


class Pyramid(torch.nn.Module):
    """Halves the tile twice and comes back; a gate looks at a mean over all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.first, self.second = torch.nn.AvgPool3d(2), torch.nn.MaxPool3d(2)
        self.gate, self.up = torch.nn.AdaptiveAvgPool3d(1), torch.nn.Upsample(scale_factor=4)
        self.ups = 0

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        deep = self.second(self.first(torch.cat([x, 2 * x, -x], dim=1)))
        deep = deep * self.gate(deep).sign().abs()
        self.ups += 1
        return [self.up(deep)]


class Flat(torch.nn.Module):
    """Never leaves the grid of its tile."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv3d(1, 2, 1)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [self.convolution(x)]


def look(network: torch.nn.Module) -> tuple[float, ...]:
    configuration = make_configuration(3, patch_voxels=[8, 8, 8])
    volume = Volume(np.full((1, 8, 8, 8), 0.5, np.float32), None, GEOMETRY)
    return deepest_channels(network, volume, configuration, Inference.model_validate(INFERENCE), torch.float32)


def test_the_smallest_grid_counts_but_not_a_mean_over_all() -> None:
    network = Pyramid()
    assert look(network) == pytest.approx((0.5, 1.0, -0.5))


def test_nothing_behind_it_is_computed_once_it_is_known() -> None:
    network = Pyramid()
    first = look(network)
    assert network.ups == 1
    assert look(network) == first
    assert network.ups == 1
    assert network(torch.ones(1, 1, 8, 8, 8))[0].shape == (1, 3, 8, 8, 8)  # no hook is left behind


def test_a_network_on_one_grid_has_none() -> None:
    assert look(Flat()) == ()
