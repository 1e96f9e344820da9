"""Differences of grids in words, from affines whose difference is known."""

import numpy as np
import pytest

from medseg.core.grids import affine_difference

GRID = np.array([[-0.9, 0, 0, 40], [0, 0.9, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def moved(*shift):
    return GRID + np.pad(np.array(shift, float)[:, None], ((0, 1), (3, 0)))


def turned(degrees):
    turn, angle = np.eye(4), np.deg2rad(degrees)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ GRID


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (GRID, ""),
        (moved(0.0001, 0, 0), ""),
        (moved(3, 0, 0), "the second is shifted by 3 mm to the right"),
        (moved(-1.5, 2, -0.25), "the second is shifted by 1.5 mm to the left, 2 mm to the front, 0.25 mm down"),
        (
            GRID @ np.diag([1, 1, 2, 1]),
            "the second has a spacing (z, y, x) of 6 x 0.9 x 0.9 instead of 3 x 0.9 x 0.9 mm",
        ),
        (GRID @ np.diag([-1, 1, 1, 1]), "the second is mirrored: its x runs the other way"),
        (GRID @ np.diag([-1, -1, 1, 1]), "the second is mirrored: its x and y run the other way"),
        (GRID[:, [1, 0, 2, 3]], "the second has its axes in another order"),
        (turned(5.0), "the second is turned by 5 degrees"),
    ],
)
def test_each_kind_of_difference(other, said):
    assert affine_difference(GRID, other) == said


def test_a_sheared_grid_is_shown_in_numbers():
    sheared = GRID.copy()
    sheared[0, 2] = 0.5
    assert affine_difference(GRID, sheared).startswith("affines [[-0.9, 0.0, 0.0, 40.0], [0.0, ")
