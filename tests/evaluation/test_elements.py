"""Surface pieces by hand: what cuts each group of corners off, and what the surface of simple solids is."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from medseg.evaluation.elements import element_areas, full_code, neighbour_codes

CORNERS = list(product((0, 1), repeat=3))


def code_of(*corners):
    return sum(1 << CORNERS.index(corner) for corner in corners)


def test_codes_of_one_voxel():
    codes = neighbour_codes(np.ones((1, 1, 1), bool))
    # seen from its lower corner the voxel lies behind along every axis: 4 + 2 + 1 = bit 7; from its upper one at bit 0
    assert codes.tolist() == [[[128, 64], [32, 16]], [[8, 4], [2, 1]]]
    assert neighbour_codes(np.ones((1, 1), bool)).tolist() == [[8, 4], [2, 1]]


def test_inside_and_outside_are_no_surface():
    codes = neighbour_codes(np.ones((3, 3, 3), bool))
    assert (codes[1:-1, 1:-1, 1:-1] == full_code(3)).all()
    assert not neighbour_codes(np.zeros((3, 3), bool)).any()
    for spacing in ((1.0, 2.0), (1.0, 2.0, 3.0)):
        areas = element_areas(spacing)
        assert areas[0] == areas[full_code(len(spacing))] == 0
        assert (areas[1:-1] > 0).all()


@pytest.mark.parametrize(
    ("corners", "area"),
    [
        ([(0, 0, 0)], sqrt(3) / 8),  # a triangle with sides of sqrt(1/2)
        ([(0, 0, 0), (0, 0, 1)], sqrt(1 / 2)),  # a rectangle of 1 by sqrt(1/2)
        ([(0, 0, 0), (0, 1, 1)], 2 * sqrt(3) / 8),  # not connected: two triangles
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0)], 1 / 2 + 3 * sqrt(3) / 8),  # half a face and half a hexagon
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)], 1.0),  # a square
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)], 6 * sqrt(3) / 8),  # a hexagon
        ([(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)], 2 * sqrt(1 / 2)),  # two rectangles
        ([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 1)], sqrt(3) / 2 + sqrt(1 / 2)),  # a chain: four triangles
    ],
)
def test_pieces_of_a_unit_cube(corners, area):
    assert element_areas((1.0, 1.0, 1.0))[code_of(*corners)] == pytest.approx(area)


def test_lengths_of_a_rectangle_of_4_by_3():
    areas = element_areas((3.0, 4.0))  # y, x
    assert areas[0b0001] == areas[0b1110] == 2.5  # half of the diagonal
    assert areas[0b0011] == 4  # both upper voxels: a line along x
    assert areas[0b0101] == 3  # both left voxels
    assert areas[0b1001] == 5


def test_pieces_stretch_with_the_voxels():
    areas = element_areas((3.0, 4.0, 12.0))
    assert areas[code_of((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))] == 48
    assert areas[code_of((0, 0, 0), (0, 0, 1))] == 12 * 2.5
    halves = 1.5, 2.0, 6.0  # the triangle between the midpoints of three edges
    assert areas[code_of((0, 0, 0))] == pytest.approx(
        np.linalg.norm(np.cross([halves[0], -halves[1], 0], [halves[0], 0, -halves[2]])) / 2
    )


def hull_area(group, inside, spacing):
    """Faces of the convex hull of a group of corners and the midpoints of the edges that leave it."""
    middles = [
        np.mean([corner, other], axis=0)
        for corner in group
        for other in CORNERS
        if sum(a != b for a, b in zip(corner, other, strict=True)) == 1 and other not in inside
    ]
    points = np.array([*group, *middles], dtype=float)
    total = 0.0
    for face in ConvexHull(points).simplices:
        flat = points[face]
        if not any((flat[:, axis] == end).all() for axis in range(3) for end in (0, 1)):
            a, b, c = flat * spacing
            total += np.linalg.norm(np.cross(b - a, c - a)) / 2
    return total


def connected(corners):
    """Groups along edges, by spreading from one corner after the other."""
    left, groups = set(corners), []
    while left:
        group = [left.pop()]
        for corner in group:
            near = {other for other in left if sum(a != b for a, b in zip(corner, other, strict=True)) == 1}
            left -= near
            group.extend(near)
        groups.append(group)
    return groups


def test_all_but_the_chains_are_faces_of_convex_hulls():
    spacing = (1.3, 0.7, 2.1)
    areas, chains = element_areas(spacing), 0
    for code in range(1, 255):
        inside = [corner for bit, corner in enumerate(CORNERS) if code >> bit & 1]
        fewer = inside if len(inside) <= 4 else [corner for corner in CORNERS if corner not in inside]
        groups = connected(fewer)
        naive = sum(hull_area(group, fewer, spacing) for group in groups)
        if len(groups) == 1 and len(fewer) == 4 and areas[code] != pytest.approx(naive):
            chains += 1
            assert areas[code] == pytest.approx(areas[255 - code])  # seen from either side
        else:
            assert areas[code] == pytest.approx(naive)
    assert chains == 24


def test_a_box_has_the_surface_of_a_box_less_its_edges():
    mask = np.ones((4, 5, 6), bool)
    total = element_areas((1.0, 1.0, 1.0))[neighbour_codes(mask)].sum()
    # 3 x 4 corners inside of a face of 4 x 5 voxels, and so on; edges cut at sqrt(1/2) a voxel; 8 triangles
    faces = 2 * (3 * 4 + 4 * 5 + 3 * 5)
    assert total == pytest.approx(faces + 4 * (3 + 4 + 5) * sqrt(1 / 2) + 8 * sqrt(3) / 8)


def test_a_ball_has_at_most_a_fifth_more_than_the_surface_of_a_ball():
    z, y, x = np.mgrid[:50, :50, :50] - 24.5
    mask = (2 * z) ** 2 + y**2 + (0.5 * x) ** 2 < 11**2
    total = element_areas((2.0, 1.0, 0.5))[neighbour_codes(mask)].sum()
    assert 1 < total / (4 * np.pi * 11**2) < 1.2  # pieces of voxels cannot be smooth
