"""Figures that change their sign where a channel is inverted, and nothing else about it matters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import spearmanr

from medseg.planning.contrast import asymmetry, roughness


def body(seed: int = 0, shape: tuple[int, int, int] = (16, 24, 24)) -> np.ndarray:
    """Dark smooth surroundings, and a bright rough body."""
    random = np.random.default_rng(seed)
    y, x = (np.arange(size) - size / 2 for size in shape[1:])
    inside = (y[:, None] ** 2 + x**2 < 64) & np.ones((shape[0], 1, 1), bool)
    return np.where(inside, random.normal(200, 30, shape), random.normal(10, 3, shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(16, 24, 24), (1, 64, 64), (2, 40, 40), (40, 40, 1)])
def test_an_inverted_channel_has_the_opposite_figure(shape: tuple[int, int, int]) -> None:
    channel = body(shape=shape)
    figure = roughness(channel)
    assert figure is not None
    assert figure > 0.1
    assert roughness(channel.max() - channel) == pytest.approx(-figure, abs=1e-3)
    assert roughness(3 * channel - 1000) == pytest.approx(figure, abs=1e-3)


def test_a_background_of_one_value_does_not_count() -> None:
    """Bright smooth tissue in a frame of zeros: the frame's edge alone would say the contrary."""
    random = np.random.default_rng(0)
    bright = np.arange(24) > 12
    channel = np.where(bright, random.normal(200, 3, (24, 24, 24)), random.normal(100, 30, (24, 24, 24)))
    framed = np.pad(channel, 8)
    (alone, within) = roughness(channel), roughness(framed)
    assert alone is not None
    assert within is not None
    assert alone < 0
    assert within < 0.2


@pytest.mark.parametrize("channel", [np.zeros((9, 9, 9)), np.arange(8).reshape(2, 2, 2), np.zeros((1, 1, 1))])
def test_where_nothing_varies_nothing_is_said(channel: np.ndarray) -> None:
    assert roughness(channel) is None


def test_integers_do_not_overflow() -> None:
    channel = (body() * 250).clip(0, 65535).astype(np.uint16)
    assert roughness(channel) == pytest.approx(roughness(channel.astype(np.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16])
@pytest.mark.parametrize("shape", [(12, 13, 14), (1, 40, 50), (2, 30, 31)])
def test_the_figure_is_spearmans_over_all_neighbourhoods_of_a_small_channel(dtype, shape):
    channel = (body(shape=shape) / 4).astype(dtype)
    windows = sliding_window_view(channel.astype(np.float64), [min(3, n) if n > 2 else 1 for n in shape])
    flat = windows.reshape(-1, *windows.shape[3:]).reshape(windows[..., 0, 0, 0].size, -1)
    varied = flat[np.ptp(flat, axis=1) > 0]
    assert len(varied) > 100
    assert roughness(channel) == pytest.approx(spearmanr(varied.mean(1), varied.std(1)).statistic, abs=5e-3)


def test_the_asymmetry_is_where_the_median_lies() -> None:
    assert asymmetry((0, 0, 0, 1, 10)) == 1
    assert asymmetry((0, 2, 5, 8, 10)) == 0
    assert asymmetry((-10, -1, 0, 0, 0)) == -1
    assert asymmetry((4, 4, 4, 4, 4)) == 0
