"""Shapes of labelme as masks: which are painted, where they overlap, and which are left out."""

import numpy as np
import pytest
from PIL import Image as pillow
from sets.labelme_files import BOX, areas, encoded, mask_of, shape, write

from medseg.commands.data.labelme import labelme
from medseg.commands.data.options import LabelmeOptions
from medseg.core.errors import MedsegError
from medseg.io.layouts.find import find_cases


def test_every_shape_with_an_area_is_painted(tmp_path):
    disc = np.zeros((3, 5), bool)
    disc[1] = True
    write(
        tmp_path / "in",
        "a",
        shape("cell", BOX, "rectangle"),
        shape("disc", [[20, 10], [25, 10]], "circle"),
        shape("triangle", [[10, 0], [14, 0], [14, 4]]),
        shape("stored", [[1, 15], [5, 17]], "mask", mask=encoded(disc)),
    )
    result = labelme(tmp_path / "in", tmp_path / "out")
    assert result.structures == {"cell": 1, "disc": 2, "stored": 3, "triangle": 4}
    found = areas(tmp_path / "out")
    assert (found[1], found[3], found[4]) == (24, 5, 10)
    assert found[2] == pytest.approx(np.pi * 25, rel=0.05)
    assert mask_of(tmp_path / "out")[16, 1:6].tolist() == [3] * 5
    assert (result.images, result.left_out, result.failed) == (1, [], {})


def test_overlaps_go_to_the_later_shape_or_to_the_smaller_one(tmp_path):
    small, large = shape("small", BOX, "rectangle"), shape("large", [[0, 0], [10, 10]], "rectangle")
    write(tmp_path / "in", "a", small, large)
    labelme(tmp_path / "in", tmp_path / "later")
    labelme(tmp_path / "in", tmp_path / "area", LabelmeOptions(order="area"))
    assert areas(tmp_path / "later") == {1: 100}
    assert areas(tmp_path / "area") == {1: 100 - 24, 2: 24}
    with pytest.raises(MedsegError, match="order is 'size'; valid are later and area"):
        labelme(tmp_path / "in", tmp_path / "x", LabelmeOptions(order="size"))


def test_shapes_without_area_are_named_and_left_out(tmp_path):
    write(
        tmp_path / "in",
        "a",
        shape("cell", BOX, "rectangle"),
        shape("axis", [[0, 0], [5, 5]], "line"),
        shape("tip", [[1, 1]], "point"),
        shape("cell", [[0, 0], [5, 5]]),
        shape("cell", [[100, 100], [105, 105]], "rectangle"),
    )
    result = labelme(tmp_path / "in", tmp_path / "out")
    assert [text.split(": ", 1)[1] for text in result.left_out] == [
        "shape 2 (axis, line of 2 points) has no area",
        "shape 3 (tip, point of 1 points) has no area",
        "shape 4 (cell, polygon of 2 points) has no area",
        "shape 5 (cell, rectangle) covers no pixel's centre",
    ]
    assert result.shapes == {"cell": 1}


def test_objects_are_numbered_on_request_and_groups_are_one(tmp_path):
    write(
        tmp_path / "in",
        "a",
        shape("cell", [[0, 0], [2, 2]], "rectangle", group_id=7),
        shape("cell", [[4, 0], [6, 2]], "rectangle"),
        shape("cell", [[8, 0], [10, 2]], "rectangle", group_id=7),
        shape("dirt", [[12, 0], [14, 2]], "rectangle", group_id=7),
    )
    labelme(tmp_path / "in", tmp_path / "out", LabelmeOptions(instances=True))
    picture = pillow.open(tmp_path / "out/instances/a.png")
    assert np.asarray(picture)[0, :14].tolist() == [1, 1, 0, 0, 2, 2, 0, 0, 1, 1, 0, 0, 3, 3]
    assert find_cases(tmp_path / "out").layout == "pairs"


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation"])
def test_rectangles_that_were_turned_are_their_four_corners(tmp_path, kind):
    turned = [[5, 1], [9, 5], [5, 9], [1, 5]]  # a square on its corner: two sides of 4 x 4 / 2 pixels above each other
    write(tmp_path / "in", "a", shape("cell", turned, kind))
    labelme(tmp_path / "in", tmp_path / "out")
    assert areas(tmp_path / "out")[1] == pytest.approx(32, abs=4)
    write(tmp_path / "in", "a", shape("cell", turned))
    labelme(tmp_path / "in", tmp_path / "polygon")
    np.testing.assert_array_equal(mask_of(tmp_path / "out"), mask_of(tmp_path / "polygon"))


def test_a_mask_shape_without_a_mask_is_told(tmp_path):
    write(tmp_path / "in", "a", shape("cell", BOX, "mask", mask=None))
    write(tmp_path / "in", "b", shape("cell", BOX, "rectangle"))
    result = labelme(tmp_path / "in", tmp_path / "out")
    assert "is a mask, but holds none" in str(result.failed)
