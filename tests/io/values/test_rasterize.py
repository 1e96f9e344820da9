"""Outlines to pixels: a pixel belongs to a shape if its centre lies inside."""

import numpy as np
import pytest

from medseg.io.values.rasterize import circle, polygon, rectangle


def drawn(*rows: str) -> list[list[bool]]:
    return [[sign == "#" for sign in row] for row in rows]


def test_a_triangle_by_hand():
    # the hypotenuse from (0, 0) to (4, 4) runs through the centres of the diagonal pixels, which are at a left edge of
    # the triangle's interior there and so belong to it
    corners = np.array([[0, 0], [4, 0], [4, 4]])
    assert polygon(corners, (4, 5)).tolist() == drawn("####.", ".###.", "..##.", "...#.")
    assert polygon(corners[::-1], (4, 5)).tolist() == polygon(corners, (4, 5)).tolist()


def test_a_concave_outline_by_hand():
    # an L: centres at x = 0.5 ... are inside where x < 2 or y > 3
    outline = np.array([[0, 0], [2, 0], [2, 3], [5, 3], [5, 5], [0, 5]])
    assert polygon(outline, (5, 6)).tolist() == drawn("##....", "##....", "##....", "#####.", "#####.")


def test_what_is_enclosed_twice_is_outside():
    outer, inner = [[0, 0], [6, 0], [6, 6], [0, 6], [0, 0]], [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]
    expected = np.ones((6, 6), bool)
    expected[2:4, 2:4] = False
    assert np.array_equal(polygon(np.array(outer + inner + [[0, 0]]), (6, 6)), expected)


def test_a_rectangle_covers_what_its_sides_enclose():
    assert rectangle(np.array([[4, 3], [0, 0]]), (5, 6)).sum() == 12
    # sides halfway across pixels: the left and upper one have the centres on them, the right and lower one do not
    assert rectangle(np.array([[0.5, 0.5], [2.5, 1.5]]), (3, 4)).tolist() == drawn("##..", "....", "....")


def test_shapes_side_by_side_share_no_pixel_and_leave_none_out():
    corner, middle = np.array([[0, 0], [7, 0], [7, 7], [0, 7]]), np.array([3.5, 2.5])
    parts = [polygon(np.array([corner[side], corner[(side + 1) % 4], middle]), (7, 7)) for side in range(4)]
    assert np.array_equal(np.sum(parts, axis=0), np.ones((7, 7)))


def test_a_circle_by_hand():
    # around the middle of 4 x 4 pixels with radius 1.6: the corners' centres are 2.12 away, the others at most 1.58
    assert circle(np.array([[2, 2], [3.6, 2]]), (4, 4)).tolist() == drawn(".##.", "####", "####", ".##.")


@pytest.mark.parametrize("radius", [20.0, 33.3])
def test_areas_are_right_on_average(radius):
    corners = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = 50.3 + radius * np.stack([np.cos(corners), np.sin(corners)], axis=1)
    exact = 60 / 2 * radius**2 * np.sin(2 * np.pi / 60)
    assert polygon(outline, (100, 100)).sum() == pytest.approx(exact, rel=0.01)
    disc = circle(np.array([[50.3, 50.3], [50.3 + radius, 50.3]]), (100, 100))
    assert disc.sum() == pytest.approx(np.pi * radius**2, rel=0.01)


def test_what_lies_outside_the_image_is_cut():
    assert polygon(np.array([[-5.0, -5], [2, -5], [2, 2], [-5, 2]]), (3, 3)).tolist() == drawn("##.", "##.", "...")
    assert not polygon(np.array([[10.0, 10], [20, 10], [20, 20]]), (3, 3)).any()
