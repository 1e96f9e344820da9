"""Where tiles lie and what they weigh: nnU-Net's rules by hand, and scipy's filter."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medseg.inference.tiles import gaussian_weight, tile_starts


@pytest.mark.parametrize(
    ("size", "tile", "step", "starts"),
    [
        (4, 4, 0.5, [0]),
        (5, 4, 0.5, [0, 1]),  # ceil(1 / 2) + 1 = 2 tiles
        (6, 4, 0.5, [0, 2]),
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 5, 7]),  # 5 tiles, 1.75 apart: 0, 1.75, 3.5, 5.25, 7; a half goes to the even number
        (10, 5, 0.5, [0, 2, 5]),  # 0, 2.5, 5
        (9, 4, 0.5, [0, 2, 3, 5]),  # 5/3 apart
        (10, 4, 1.0, [0, 3, 6]),
        (110, 64, 0.5, [0, 23, 46]),  # the example in nnU-Net's comment
        (12, 10, 0.25, [0, 2]),
    ],
)
def test_starts_of_one_axis_by_hand(size: int, tile: int, step: float, starts: list[int]) -> None:
    assert tile_starts([size], [tile], step) == [(start,) for start in starts]


def test_starts_of_three_axes_are_all_combinations() -> None:
    assert tile_starts((4, 6, 5), (4, 4, 4), 0.5) == list(product([0], [0, 2], [0, 1]))


@pytest.mark.parametrize("size", range(8, 40))
@pytest.mark.parametrize("step", [0.25, 0.5, 0.75, 1.0])
def test_tiles_cover_everything_and_stay_inside(size: int, step: float) -> None:
    covered = np.zeros(size, dtype=int)
    starts = [start for (start,) in tile_starts([size], [8], step)]
    assert starts[0] == 0
    assert starts[-1] == size - 8
    for start in starts:
        covered[start : start + 8] += 1
    assert covered.min() >= 1
    assert max(np.diff(starts), default=0) <= 8 * step + 1


@pytest.mark.parametrize("fraction", [0.125, 0.0625, 0.25])
@pytest.mark.parametrize("tile", [(8,), (9,), (40, 56), (12, 56, 40), (7, 5, 16), (1, 8, 8)])
def test_the_weight_is_a_filtered_impulse_without_zeros(tile: tuple[int, ...], fraction: float) -> None:
    impulse = np.zeros(tile)
    impulse[tuple(size // 2 for size in tile)] = 1
    expected = gaussian_filter(impulse, [size * fraction for size in tile], mode="constant", cval=0)
    expected /= expected.max()
    expected[expected == 0] = expected[expected > 0].min()
    weight = gaussian_weight(tile, fraction)
    assert weight.dtype == torch.float32
    assert float(weight.min()) > 0
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)


def test_a_narrow_weight_never_vanishes() -> None:
    weight = gaussian_weight((192, 192, 192), 0.02)
    assert float(weight.min()) > 0
    assert float(weight.max()) == 1
