"""Planes: a marked corner of the patient has to turn up in the same corner of the picture, however it is stored."""

import numpy as np
import pytest

from medseg.core.image import Image, Orientation
from medseg.delivery.pictures.planes import planes_through

SHAPE = (3, 4, 5)
SPACING_ZYX = (5.0, 3.0, 2.0)


def stored_as(axes, flips):
    """A grid whose right, anterior, superior corner is marked, stored with permuted and reversed axes."""
    canonical = np.zeros((1, *SHAPE), np.uint8)
    canonical[0, -1, -1, -1] = 1
    array = np.ascontiguousarray(Orientation(axes, flips).invert(canonical))
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (stored, flip) in enumerate(zip(axes, flips, strict=True)):  # canonical z, y, x and where each lies
        row, column = 2 - axis, 2 - stored
        affine[row, column] = -SPACING_ZYX[axis] if flip else SPACING_ZYX[axis]
        affine[row, 3] = (SHAPE[axis] - 1) * SPACING_ZYX[axis] if flip else 0
    return Image(array, affine)


@pytest.mark.parametrize("flips", [(False, False, False), (False, True, True), (True, True, False)])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_right_anterior_and_superior_are_left_and_on_top(axes, flips):
    image = stored_as(axes, flips)
    planes = planes_through(image, image.array[0] == 1)
    seen = {plane.name: (plane.left, plane.top, plane.pixel, plane.cut(image.array).shape) for plane in planes}
    assert seen == {
        "axial": ("R", "A", (3.0, 2.0), (1, 4, 5)),
        "coronal": ("R", "S", (5.0, 2.0), (1, 3, 5)),
        "sagittal": ("A", "S", (5.0, 3.0), (1, 3, 4)),
    }
    for plane in planes:
        cut = plane.cut(image.array)[0]
        assert cut[0, 0] == 1
        assert cut.sum() == 1


def test_a_2d_image_has_one_plane():
    pixels = np.arange(6).reshape(1, 1, 2, 3)
    known = Image(pixels, np.diag([2.0, 3.0, 1.0, 1.0]))
    (plane,) = planes_through(known, pixels[0] > 2)
    assert (plane.name, plane.left, plane.top, plane.pixel) == ("axial", "R", "A", (3.0, 2.0))
    assert plane.cut(pixels).tolist() == [[[5, 4, 3], [2, 1, 0]]]


def test_where_the_spacing_is_unknown_nothing_is_turned_or_named():
    pixels = np.arange(6).reshape(1, 1, 2, 3)
    (plane,) = planes_through(Image(pixels, np.eye(4), spacing_known=False), pixels[0] > 2)
    assert (plane.name, plane.left, plane.top) == ("", "", "")
    assert plane.cut(pixels).tolist() == pixels[0].tolist()


@pytest.mark.parametrize(
    ("filled", "index"),
    [
        ({2: 1, 3: 1, 4: 1}, 3),  # the centre
        ({0: 2, 6: 3}, 6),  # the centre misses both: the slice with more of it
        ({}, 3),  # nothing: the middle of 7
        ({6: 1}, 6),
    ],
)
def test_which_slice_is_shown(filled, index):
    foreground = np.zeros((7, 4, 4), bool)
    for z, voxels in filled.items():
        foreground[z].flat[:voxels] = True
    axial = planes_through(Image(np.zeros((1, 7, 4, 4)), np.eye(4)), foreground)[0]
    assert (axial.name, axial.index) == ("axial", index)
