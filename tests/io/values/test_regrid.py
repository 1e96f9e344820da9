"""Label maps on another grid, brought to that of their scan by the places of the voxels in the world."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from medseg.core.image import Image, Orientation
from medseg.io.values.regrid import resample_nearest

LINE = Image(np.array([1, 2, 3, 4]).reshape(1, 1, 1, 4), np.eye(4))


def line(start: float, step: float, count: int) -> Image:
    """Voxels along x at start, start + step, ..."""
    affine = np.diag([step, 1.0, 1.0, 1.0])
    affine[0, 3] = start
    return Image(np.zeros((1, 1, 1, count)), affine)


@pytest.mark.parametrize(
    ("start", "step", "count", "values"),
    [
        (0, 1, 4, [1, 2, 3, 4]),
        (1, 1, 4, [2, 3, 4, 9]),  # beyond its end the label map says nothing
        (-1, 1, 3, [9, 1, 2]),
        (0, 0.5, 8, [1, 2, 2, 3, 3, 4, 4, 9]),  # half way between two: the higher index
        (0.2, 2, 2, [1, 3]),
        (3, -1, 4, [4, 3, 2, 1]),
        (-0.5, 1, 2, [1, 2]),  # the cell of the first voxel reaches from -0.5 to 0.5
        (-0.51, 1, 2, [9, 1]),
        (100, 1, 2, [9, 9]),
    ],
)
def test_along_a_line(start, step, count, values):
    answer = resample_nearest(LINE, line(start, step, count), 9)
    assert answer.array.ravel().tolist() == values


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_axis_orders_are_lossless(axes):
    rng = np.random.default_rng(0)
    label = Image(rng.integers(0, 9, (1, 3, 4, 5)), np.diag([0.7, 1.3, 2.1, 1.0]))
    for signs in product((1, -1), repeat=3):
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        sizes = [(5, 4, 3)[axis] for axis in axes]
        for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
            turn[old, new] = sign
            turn[old, 3] = 0 if sign > 0 else (5, 4, 3)[old] - 1
        grid = Image(np.zeros((1, *sizes[::-1])), label.affine @ turn)
        answer = resample_nearest(label, grid, -1)
        back, canonical = Orientation.of(answer).apply(answer.array), Orientation.of(label).apply(label.array)
        np.testing.assert_array_equal(back, canonical)


def test_an_oblique_grid_takes_the_voxel_that_each_place_lies_in():
    label = Image(np.arange(7 * 8 * 9).reshape(1, 7, 8, 9), np.diag([1.0, 1.5, 2.0, 1.0]))
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.array([[c, -s, 0, 2], [s, c, 0, 1], [0, 0.3, 1, 3], [0, 0, 0, 1]])
    answer = resample_nearest(label, Image(np.zeros((1, 4, 5, 6)), affine), -1)
    for z, y, x in np.ndindex(4, 5, 6):
        index = np.linalg.inv(label.affine) @ affine @ [x, y, z, 1]
        i, j, k = np.floor(index[:3] + 0.5).astype(int)
        inside = 0 <= i < 9 and 0 <= j < 8 and 0 <= k < 7
        assert answer.array[0, z, y, x] == (label.array[0, k, j, i] if inside else -1)


def test_the_value_outside_fits_the_type():
    label = Image(np.ones((1, 1, 1, 2), np.uint8), np.eye(4))
    answer = resample_nearest(label, line(0, 1, 3), 70000)
    assert answer.array.ravel().tolist() == [1, 1, 70000]
