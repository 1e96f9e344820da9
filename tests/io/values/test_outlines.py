"""Outlines along pixel edges: areas are exact, and filling them gives the mask back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from medseg.io.values.outlines import outlines_of
from medseg.io.values.rasterize import outlines, polygon


def area(points):
    rows, columns = points.T
    return abs(float(np.sum(columns * np.roll(rows, -1) - np.roll(columns, -1) * rows))) / 2


def test_a_pixel_is_a_square_around_its_centre():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    (found,) = outlines_of(mask)
    assert sorted(map(tuple, found)) == [(0.5, 1.5), (0.5, 2.5), (1.5, 1.5), (1.5, 2.5)]


def test_straight_stretches_have_no_points_between_their_ends():
    (found,) = outlines_of(np.ones((5, 7), bool))
    assert len(found) == 4
    assert area(found) == 35


def test_pixels_that_touch_at_a_corner_have_outlines_of_their_own():
    assert len(outlines_of(np.eye(3, dtype=bool))) == 3


def test_a_hole_is_joined_by_a_keyhole():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (found,) = outlines_of(mask)
    assert area(found) == 24
    np.testing.assert_array_equal(polygon(found[:, ::-1] + 0.5, mask.shape), mask)


def test_nothing_has_no_outline():
    assert outlines_of(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("seed", range(60))
def test_filling_gives_the_mask_back_however_it_is_filled(seed):
    """Noise and smooth shapes with holes in holes: by the even-odd rule over all outlines, and as their union."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 30, 2))
    noise = rng.normal(size=shape)
    mask = gaussian_filter(noise, rng.uniform(0, 2)) > rng.uniform(-0.2, 0.2) if seed % 2 else noise > rng.normal()
    found = outlines_of(mask)
    flat = [points[:, ::-1] + 0.5 for points in found]
    np.testing.assert_array_equal(outlines(flat, shape), mask)
    union = np.zeros(shape, bool)
    for points in flat:
        union |= polygon(points, shape)
    np.testing.assert_array_equal(union, mask)
    assert len(found) == label(mask)[1]
    assert sum(map(area, found)) == pytest.approx(mask.sum())
