"""Objects in label maps, on rows and squares small enough to be drawn."""

import numpy as np
import pytest

from medseg.core.numbered_objects import mark_boundaries, number_objects


def drawn(*rows: str) -> np.ndarray:
    """A label map (1, y, x) of digits; a point is 0."""
    return np.array([[[0 if sign == "." else int(sign) for sign in row] for row in rows]])


def test_objects_touch_at_corners_but_not_across_structures():
    numbers = number_objects(drawn("1.2", ".12", "2.."), [1, 2])
    np.testing.assert_array_equal(numbers, drawn("1.2", ".12", "3.."))


def test_boundaries_part_objects_that_touch_and_belong_to_the_nearer_one():
    labels = drawn("22222222", "21122112", "22222222")
    np.testing.assert_array_equal(number_objects(labels, [1, 2], {1: 2}), drawn(*["11112222"] * 3))


def test_boundary_at_the_corner_of_an_object_belongs_to_it():
    np.testing.assert_array_equal(
        number_objects(drawn("2...", ".11.", ".112"), [1], {1: 2}), drawn("1...", ".11.", ".111")
    )


def test_a_boundary_without_an_inside_is_an_object():
    np.testing.assert_array_equal(number_objects(drawn("212.22"), [1], {1: 2}), drawn("111.22"))


def test_a_structure_that_is_not_there_has_no_objects():
    assert number_objects(drawn("...", "..."), [1, 3], {1: 3}).max() == 0


@pytest.mark.parametrize("touching", [False, True])
def test_what_is_marked_is_grown_back(touching):
    """Squares of 5 x 5, one voxel apart or not at all, are the same objects after marking and growing."""
    numbers = np.zeros((1, 12, 30), int)
    step = 5 if touching else 6
    for place in range(5):
        numbers[0, 3:8, step * place : step * place + 5] = place + 1
    marked = mark_boundaries((numbers > 0).astype(np.uint8), numbers, {1: 7})
    assert {*np.unique(marked)} == {0, 1, 7}
    assert number_objects(marked > 0, [1]).max() == (1 if touching else 5)
    np.testing.assert_array_equal(number_objects(marked, [1, 7], {1: 7}), numbers)


def test_objects_without_an_inside_stay_and_the_border_of_the_image_is_no_boundary():
    labels = drawn("1111", "1111", "....", "11.1")
    numbers = number_objects(labels, [1])
    np.testing.assert_array_equal(mark_boundaries(labels, numbers, {1: 9}), drawn("1111", "9999", "....", "11.1"))


def test_a_boundary_value_beyond_the_type_of_the_file_fits():
    labels = np.full((1, 3, 3), 255, np.uint8)
    numbers = np.array([[[1, 1, 1], [1, 1, 1], [2, 2, 2]]])
    assert mark_boundaries(labels, numbers, {255: 256}).max() == 256
