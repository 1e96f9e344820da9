"""Extents of label values: longest runs and centres, by hand and against a plain loop."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from medseg.core.image import Image, Orientation
from medseg.planning import extents as module
from medseg.planning.extents import Extent, extents

AFFINE = np.array([[-0.5, 0.1, 0.0, 3.0], [0.0, 2.0, 0.3, 1.0], [0.2, 0.0, 4.0, 9.0], [0.0, 0.0, 0.0, 1.0]])


def longest(lines: np.ndarray, value: int) -> int:
    """The longest run of a value along the last axis."""
    rows = lines.reshape(-1, lines.shape[-1]).tolist()
    return max((len([*run]) for row in rows for found, run in groupby(row) if found == value), default=0)


@pytest.mark.parametrize("shape", [(7, 8, 9), (1, 8, 9), (7, 1, 9), (7, 8, 1), (1, 8, 1), (7, 1, 1)])
@pytest.mark.parametrize("at_once", [1, 500, 1 << 22])
def test_runs_and_centres_are_those_of_a_plain_loop(
    at_once: int, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    array = np.random.default_rng(0).integers(-1, 4, (1, *shape)).astype(np.int16)
    if min(shape) > 1:
        array[0, :2] = array[0, :, :3] = 0  # nothing in the first planes and rows
    label = array[0]
    found = extents(Image(array, AFFINE), (label != 0) & (label != 3), Orientation())
    assert {*found} == {*np.unique(label).tolist()} - {0, 3} != set()
    for value, extent in found.items():
        assert extent.runs == tuple(longest(np.moveaxis(label, axis, 2), value) for axis in range(3))
        voxels_xyz = np.argwhere(label == value)[:, ::-1]
        assert extent.centre_x == pytest.approx((voxels_xyz @ AFFINE[:3, :3].T + AFFINE[:3, 3])[:, 0].mean())


def test_axes_of_one_voxel_are_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each voxel is a run of its own along them, so that this took longer than all else of a picture's survey."""
    seen = []
    runs = module._runs
    monkeypatch.setattr(module, "_runs", lambda array, marked: seen.append(array.shape) or runs(array, marked))
    array = np.ones((1, 1, 4, 6), np.uint8)
    assert extents(Image(array, np.eye(4)), array[0] != 0, Orientation()) == {1: Extent((1, 4, 6), 2.5)}
    assert seen == [(1, 6, 4), (1, 4, 6)]


def test_runs_have_the_axes_of_the_plan() -> None:
    array = np.zeros((1, 4, 5, 6), np.uint8)
    array[0, 1, 1:4, :] = 9
    image = Image(array, np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]))  # x, y, z run to A, S, R
    assert extents(image, array[0] != 0, Orientation())[9].runs == (1, 3, 6)
    assert extents(image, array[0] != 0, Orientation.of(image))[9] == Extent((3, 6, 1), 1.0)


def test_nothing_has_no_extents() -> None:
    array = np.zeros((1, 4, 5, 6), np.uint8)
    assert extents(Image(array, np.eye(4)), array[0] != 0, Orientation()) == {}
