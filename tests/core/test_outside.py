"""NaN around a scan is read as nothing, told by name; NaN within a scan is refused."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.outside import without_nan


def disc(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1, 4, 20, 20) values in a cylinder, NaN around it; and where it is NaN."""
    y, x = np.indices((20, 20))
    around = np.broadcast_to((y - 9.5) ** 2 + (x - 9.5) ** 2 > 81, (4, 20, 20))
    return np.where(around, np.nan, values)[None].astype(np.float32), around


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (-1000.0, -1000.0)])
def test_nan_around_a_scan_is_zero_or_air(shift: float, expected: float) -> None:
    values = np.random.default_rng(0).permutation(1600).reshape(4, 20, 20) + shift
    values[:, 9, 9] = shift  # the smallest value lies in the scan
    array, around = disc(values)
    image, outside = without_nan(Image(array, np.eye(4)), "a.nii")
    np.testing.assert_array_equal(image.array[0], np.where(around, expected, values))
    np.testing.assert_array_equal(outside, around)
    (text,) = image.warnings
    assert text == (
        f"a.nii: {around.sum()} of 1600 voxels are NaN, all at the edge of the grid; they are taken for places "
        f"outside of the scan and read as {expected:g}"
    )
    assert np.isnan(array).any(), "the array that was given is as it was"


def test_a_few_negative_values_of_interpolation_leave_zero_for_nothing() -> None:
    values = np.ones((4, 20, 20))
    values[:, 8, 9] = -0.25
    image, _ = without_nan(Image(disc(values)[0], np.eye(4)), "a.nii")
    assert image.array[0, 0, 0, 0] == 0


def test_each_channel_has_its_own_outside() -> None:
    array, around = disc(np.ones((4, 20, 20)))
    both = np.concatenate([array, np.full_like(array, 5)])
    image, outside = without_nan(Image(both, np.eye(4)), "a.nii")
    assert outside is not None
    assert not outside.any(), "the second channel was measured everywhere"
    assert (image.array[0][around] == 0).all()
    assert (image.array[1] == 5).all()
    assert "voxels of channel 0 are NaN" in image.warnings[0]


def test_a_flat_picture_has_no_edge_along_its_slices() -> None:
    array = np.ones((1, 1, 20, 20), np.float32)
    array[..., 8:12, 8:12] = np.nan
    with pytest.raises(DataError, match=r"a\.tif holds NaN in 16 of 400 voxels"):
        without_nan(Image(array, np.eye(4)), "a.tif")
    array = np.ones((1, 1, 20, 20), np.float32)
    array[..., :4] = np.nan
    assert (without_nan(Image(array, np.eye(4)), "a.tif")[0].array[..., :4] == 0).all()


def test_holes_stray_voxels_nothing_else_and_infinity_are_refused() -> None:
    array, _ = disc(np.ones((4, 20, 20)))
    hole = array.copy()
    hole[0, 1:3, 9:11, 9:11] = np.nan
    stray = np.ones((1, 20, 20, 20), np.float32)
    stray[0, 0, 0, 0] = np.nan
    infinite = array.copy()
    infinite[0, 1, 9, 9] = np.inf
    slab = np.ones((1, 4, 20, 20), np.float32)
    slab[0, 1:3] = np.nan  # reaches the edge, and is read
    for odd in (hole, stray, np.full_like(array, np.nan), infinite):
        with pytest.raises(DataError, match=r"holds (NaN|infinity)") as caught:
            without_nan(Image(odd, np.eye(4)), "a.nii")
        assert caught.value.kind == "not finite"
    assert (without_nan(Image(slab, np.eye(4)), "a.nii")[0].array[0, 1:3] == 0).all()


def test_what_is_finite_stays_itself() -> None:
    for dtype in (np.float32, np.int16):
        image = Image(np.ones((1, 2, 3, 4), dtype), np.eye(4))
        assert without_nan(image, "a")[0] is image
