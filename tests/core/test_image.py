"""Geometry: canonical frames are checked against the world coordinates of every voxel."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image, Orientation, check_finite, describe_grid_difference, nonzero_box

ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
SPACING_XYZ = (1.0, 2.0, 3.5)
SHAPE_XYZ = (4, 3, 2)


def turned_affine(axes: tuple[int, ...], signs: tuple[int, ...]) -> NDArray[np.float64]:
    """Stored axis i (x, y, z) runs along world axis `axes[i]`, forwards or backwards."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, stored] = sign * SPACING_XYZ[stored]
    affine[:3, 3] = (-7.0, 11.0, 40.0)
    return affine


def world_image(affine: NDArray[np.float64]) -> Image:
    """An image whose three channels are the R, A and S coordinates of each voxel."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in SHAPE_XYZ), indexing="ij")
    places = np.stack([x, y, z, np.ones_like(x)]).reshape(4, -1)
    world = (affine @ places)[:3].reshape(3, *SHAPE_XYZ)
    return Image(world.transpose(0, 3, 2, 1), affine)


def oblique(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn


def test_there_are_48_different_orientations() -> None:
    orientations = {Orientation.of(world_image(turned_affine(*how))) for how in ORIENTATIONS}
    assert len(orientations) == 48


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_canonical_axes_run_to_right_anterior_superior(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    image = world_image(turned_affine(axes, signs))
    orientation = Orientation.of(image)
    right, anterior, superior = orientation.apply(image.array)
    spacing = orientation.permute(image.spacing_mm)
    for channel, axis in ((right, 2), (anterior, 1), (superior, 0)):
        np.testing.assert_allclose(np.diff(channel, axis=axis), spacing[axis])
        for other in {0, 1, 2} - {axis}:
            assert not np.diff(channel, axis=other).any()


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_invert_undoes_apply(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    image = world_image(turned_affine(axes, signs))
    orientation = Orientation.of(image)
    there = orientation.apply(image.array)
    assert there.shape[1:] == orientation.permute(image.shape_zyx)
    np.testing.assert_array_equal(orientation.invert(there), image.array)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_oblique_scans_go_to_the_nearest_frame(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    straight = turned_affine(axes, signs)
    image = world_image(oblique(25) @ straight)
    orientation = Orientation.of(image)
    assert orientation == Orientation.of(world_image(straight))
    for channel, axis in zip(orientation.apply(image.array), (2, 1, 0), strict=True):
        assert (np.diff(channel, axis=axis) > 0).all()
    np.testing.assert_array_equal(orientation.invert(orientation.apply(image.array)), image.array)


def test_the_default_orientation_changes_nothing() -> None:
    array = np.arange(24).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(Orientation().apply(array), array)
    assert Orientation().permute((3.0, 2.0, 1.0)) == (3.0, 2.0, 1.0)


def test_spacing_and_volume_follow_from_the_affine() -> None:
    image = world_image(oblique(33) @ turned_affine((1, 2, 0), (1, -1, 1)))
    assert image.spacing_mm == pytest.approx((3.5, 2.0, 1.0))
    assert image.voxel_volume_ml == pytest.approx(0.007)
    assert image.shape_zyx == (2, 3, 4)


def test_unknown_spacing_has_no_volume() -> None:
    assert Image(np.zeros((1, 1, 2, 2)), np.eye(4), spacing_known=False).voxel_volume_ml is None


def blank(shape_zyx: tuple[int, int, int], affine: NDArray[np.float64]) -> Image:
    return Image(np.zeros((1, *shape_zyx)), affine)


@pytest.mark.parametrize(
    ("change", "voxels"),
    [
        ((0, 3, 0.5), 0.25),  # an origin 0.5 mm away, on a grid of 2 mm
        ((2, 3, -3.0), 1.5),
        ((0, 0, 0.1), 0.5),  # a spacing of 2.1 instead of 2 mm adds up over the 10 steps to the last voxel
        ((1, 0, 0.04), 0.2),  # a shear, likewise
    ],
)
def test_grid_difference_is_the_farthest_corner_in_voxels(change: tuple[int, int, float], voxels: float) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    other = affine.copy()
    row, column, amount = change
    other[row, column] += amount
    first, second = blank((5, 6, 11), affine), blank((5, 6, 11), other)
    assert first.grid_difference_voxels(second) == pytest.approx(voxels)
    assert second.grid_difference_voxels(first) == pytest.approx(voxels, rel=0.1)
    assert not first.same_grid(second)
    assert first.same_grid(second, tolerance_voxels=voxels + 1e-9)


def test_a_grid_of_unknown_spacing_is_that_of_any_image_of_its_shape() -> None:
    known = blank((2, 3, 4), np.diag([2.0, 3.0, 4.0, 1.0]))
    unknown = Image(np.zeros((1, 2, 3, 4)), np.eye(4), spacing_known=False)
    assert known.same_grid(unknown)
    assert unknown.same_grid(known)
    assert not Image(np.zeros((1, 2, 3, 5)), np.eye(4), spacing_known=False).same_grid(known)


@pytest.mark.parametrize(
    ("bad", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity"), (1e300, "values beyond 3.4e38")]
)
def test_what_no_network_can_compute_with_is_refused(bad: float, name: str) -> None:
    array = np.zeros((2, 2, 3, 4))
    check_finite(Image(array, np.eye(4)), "scan")
    array[1, 0, 2, 3] = bad
    with pytest.raises(DataError, match=rf"scan holds {name} in 1 of 48 voxels, .* = \(1, 0, 2, 3\)"):
        check_finite(Image(array, np.eye(4)), "scan")
    check_finite(Image(np.ones((1, 1, 1, 1), np.uint64), np.eye(4)), "scan")


def test_grids_of_other_shapes_are_never_the_same() -> None:
    assert blank((2, 2, 2), np.eye(4)).grid_difference_voxels(blank((2, 2, 3), np.eye(4))) == float("inf")


def test_the_difference_of_grids_is_described() -> None:
    one, other = blank((2, 2, 2), np.diag([4e-6, 4e-6, 3e-5, 1.0])), blank((2, 2, 2), np.diag([4e-6, 5e-6, 3e-5, 1.0]))
    assert describe_grid_difference(one, blank((2, 2, 3), one.affine)) == "shapes (z, y, x) (2, 2, 2) and (2, 2, 3)"
    assert describe_grid_difference(one, other) == (
        "0.25 voxels apart at a corner, "
        "the second has a spacing (z, y, x) of 3e-05 x 5e-06 x 4e-06 instead of 3e-05 x 4e-06 x 4e-06 mm"
    )


def test_the_nonzero_box_holds_what_any_channel_has() -> None:
    array = np.zeros((2, 4, 5, 6))
    array[0, 1, 2, 3] = -1
    array[1, 2, 2, 5] = 7
    assert nonzero_box(array) == (slice(1, 3), slice(2, 3), slice(3, 6))
    assert nonzero_box(np.zeros((1, 4, 5, 6))) == (slice(0, 4), slice(0, 5), slice(0, 6))


def test_rounding_of_a_header_is_tolerated() -> None:
    affine = np.diag([0.7324219, 0.7324219, 2.5, 1.0])
    assert blank((80, 512, 512), affine).same_grid(blank((80, 512, 512), affine.astype(np.float32).astype(float)))


def test_with_array_keeps_the_geometry_and_refuses_another_grid() -> None:
    image = blank((2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
    labels = image.with_array(np.ones((1, 2, 3, 4), dtype=np.uint8))
    assert labels.affine is image.affine
    assert labels.array.dtype == np.uint8
    with pytest.raises(ValueError, match=r"\(2, 3, 3\).*\(2, 3, 4\)"):
        image.with_array(np.ones((1, 2, 3, 3)))


def test_the_spacing_along_an_oblique_axis_is_that_of_a_file() -> None:
    """Files store the three parts of an axis as float32, whose length is not quite the one that was meant."""
    turn = np.radians(10)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[2, 2] = 0.7
    stored = affine.astype(np.float32).astype(np.float64)
    assert np.linalg.norm(stored[:3, 0]) != 1.0
    assert Image(np.zeros((1, 2, 2, 2)), stored).spacing_mm == (stored[2, 2], 1.0, 1.0)
