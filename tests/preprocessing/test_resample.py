"""Resampling against scipy's own splines and against one mask at a time."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.labels import IGNORE, OUTSIDE
from medseg.plans.schema import Resampling
from medseg.preprocessing.resample import resample_image, resample_label, resampled_shape, separate_axis

SHAPES = [
    ((9, 8, 7), (14, 13, 12)),
    ((9, 8, 7), (5, 4, 3)),
    ((9, 8, 7), (17, 8, 3)),
    ((13, 11, 12), (6, 23, 12)),
    ((1, 9, 8), (1, 13, 5)),
    ((1, 6, 6), (3, 9, 9)),
    ((5, 6, 7), (1, 1, 1)),
    ((2, 3, 2), (7, 7, 7)),
    ((6, 10, 10), (12, 20, 20)),
    ((12, 20, 20), (6, 10, 10)),
]


def how(order: int, across: int = 0) -> Resampling:
    return Resampling(order=order, order_across=across, separate_axis=None)


def zoom(array: NDArray, shape: Sequence[int], order: int) -> NDArray[np.float64]:
    """What skimage's resize does, in float64: a spline on the grid of voxel faces, clipped to the old range."""
    wide = array.astype(np.float64)
    factors = [new / old for old, new in zip(array.shape, shape, strict=True)]
    return np.clip(ndimage.zoom(wide, factors, order=order, mode="nearest", grid_mode=True), wide.min(), wide.max())


def across_slices(
    array: NDArray, shape: Sequence[int], axis: int, order: int, order_across: int
) -> NDArray[np.float64]:
    """nnU-Net's separate axis: every slice by itself, then along the axis at the centres of the new voxels."""
    in_plane = [size for place, size in enumerate(shape) if place != axis]
    slices = np.stack([zoom(one, in_plane, order) for one in np.moveaxis(array, axis, 0)], axis=axis)
    centres = (np.arange(shape[axis]) + 0.5) * array.shape[axis] / shape[axis] - 0.5
    grid = np.stack(np.meshgrid(*(centres if n == axis else np.arange(shape[n]) for n in range(3)), indexing="ij"))
    return ndimage.map_coordinates(slices, grid, order=order_across, mode="nearest")


def noise(shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_images_equal_scipys_splines(old: tuple[int, ...], new: tuple[int, ...], order: int) -> None:
    image = np.stack([noise(old), 100 + 40 * noise(old, 1)])
    result = resample_image(torch.from_numpy(image), new, how(order)).numpy()
    assert result.dtype == np.float32
    for mine, channel in zip(result, image, strict=True):
        np.testing.assert_allclose(mine, zoom(channel, new, order), atol=2e-6 * np.ptp(channel))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("across", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), [SHAPES[0], SHAPES[1], SHAPES[2], SHAPES[9]])
def test_slices_apart_equal_slice_by_slice(
    old: tuple[int, ...], new: tuple[int, ...], axis: int, across: int, order: int
) -> None:
    image = noise(old)
    result = resample_image(torch.from_numpy(image)[None], new, how(order, across), axis)[0].numpy()
    np.testing.assert_allclose(result, across_slices(image, new, axis, order, across), atol=1e-5)


def test_a_channel_does_not_bleed_into_another() -> None:
    image = np.zeros((2, 6, 6, 6), dtype=np.float32)
    image[1] = noise((6, 6, 6))
    assert not resample_image(torch.from_numpy(image), (9, 4, 7), how(3))[0].any()


def test_a_spline_stays_within_the_range_of_what_it_resamples() -> None:
    step = np.zeros((1, 4, 16, 16), dtype=np.float32)
    step[:, :2, :, 8:] = 1
    whole = resample_image(torch.from_numpy(step), (4, 23, 23), how(3))
    assert (float(whole.min()), float(whole.max())) == (0, 1)
    step[:, 3] = 5
    apart = resample_image(torch.from_numpy(step), (4, 23, 23), how(3), axis=0)
    assert [float(apart[0, z].max()) for z in range(4)] == [1, 1, 0, 5]


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_same_shape_changes_nothing(order: int) -> None:
    image = torch.from_numpy(noise((1, 3, 4, 5)))
    assert resample_image(image, (3, 4, 5), how(order)) is image


def test_up_and_down_by_hand() -> None:
    line = torch.tensor([[[[0.0, 4.0]]]])
    assert resample_image(line, (1, 1, 4), how(1)).ravel().tolist() == [0, 1, 3, 4]
    assert resample_image(line, (1, 1, 1), how(1)).ravel().tolist() == [2]
    assert resample_image(line, (1, 1, 4), how(0)).ravel().tolist() == [0, 0, 4, 4]
    assert resample_image(line, (1, 1, 1), how(0)).ravel().tolist() == [4]  # a tie goes upwards, as in scipy


# --- labels ---


def one_mask_at_a_time(label: NDArray, shape: Sequence[int], order: int, axis: int | None = None) -> NDArray:
    """nnU-Net's way, values in the order in which they stand: the last to reach one half wins."""
    result = np.zeros(shape, dtype=label.dtype)
    if axis is not None:
        in_plane = [size for place, size in enumerate(shape) if place != axis]
        slices = [one_mask_at_a_time(one, in_plane, order) for one in np.moveaxis(label, axis, 0)]
        centres = (np.arange(shape[axis]) + 0.5) * label.shape[axis] / shape[axis] - 0.5
        nearest = np.clip(np.floor(centres + 0.5), 0, label.shape[axis] - 1).astype(int)
        return np.stack([slices[place] for place in nearest], axis=axis)
    factors = [new / old for old, new in zip(label.shape, shape, strict=True)]
    for value in sorted(np.unique(label), key=lambda value: (value == IGNORE, value)):
        mask = ndimage.zoom((label == value).astype(float), factors, order=order, mode="nearest", grid_mode=True)
        result[mask.round(9) >= 0.5] = value
    return result


def blobs(shape: Sequence[int], values: Sequence[int], seed: int = 0) -> NDArray[np.int16]:
    """Smooth patches of the values."""
    rng = np.random.default_rng(seed)
    strength = [ndimage.gaussian_filter(rng.normal(size=shape), 1.0) for _ in values]
    return np.array(values, dtype=np.int16)[np.argmax(strength, axis=0)]


@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2, 5), (1, 2), (OUTSIDE, 0, 1, IGNORE), (IGNORE, 0, 3)])
@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_labels_equal_one_mask_at_a_time(old: tuple[int, ...], new: tuple[int, ...], values: tuple[int, ...]) -> None:
    label = blobs(old, values)
    result = resample_label(label, new, how(1), None)
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, one_mask_at_a_time(label, new, 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), [SHAPES[0], SHAPES[1], SHAPES[2], SHAPES[9]])
def test_labels_of_slices_apart(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> None:
    label = blobs(old, (OUTSIDE, 0, 1, 2, IGNORE))
    np.testing.assert_array_equal(resample_label(label, new, how(1), axis), one_mask_at_a_time(label, new, 1, axis))


@pytest.mark.parametrize("order", [0, 3])
def test_labels_with_other_orders(order: int) -> None:
    label = blobs((9, 8, 7), (0, 1, 2))
    for shape in ((13, 12, 5), (5, 8, 11)):
        np.testing.assert_array_equal(
            resample_label(label, shape, how(order), None), one_mask_at_a_time(label, shape, order)
        )


def test_a_tie_goes_to_the_higher_value_and_before_all_to_ignore() -> None:
    for pair, winner in (((0, 1), 1), ((2, 1), 2), ((IGNORE, 2), IGNORE), ((0, IGNORE), IGNORE), ((OUTSIDE, 0), 0)):
        line = np.array(pair, dtype=np.int16).reshape(1, 1, 2)
        assert resample_label(line, (1, 1, 1), how(1), None).item() == winner


def test_labels_of_the_same_shape_stay() -> None:
    label = blobs((4, 5, 6), (0, 1, 2))
    np.testing.assert_array_equal(resample_label(label, (4, 5, 6), how(1), None), label)


# --- which axis, which shape ---


@pytest.mark.parametrize(
    ("spacing", "target", "setting", "axis"),
    [
        ((3.1, 1, 1), (1, 1, 1), None, 0),  # the present spacing decides
        ((3.0, 1, 1), (1, 1, 1), None, None),  # 3 is not more than 3
        ((1, 1, 1), (1, 4, 1), None, 1),  # else the target's
        ((1, 1, 5), (4, 1, 1), None, 2),  # the present one comes first
        ((4, 4, 1), (1, 1, 1), None, None),  # two coarse axes leave no slice direction
        ((4, 4, 1), (9, 1, 1), None, None),
        ((5, 1, 1), (5, 1, 1), False, None),
        ((1.5, 1, 1), (1, 1, 1), True, 0),
        ((1, 1, 1), (1, 1, 1), True, None),
    ],
)
def test_the_axis_that_is_resampled_apart(
    spacing: tuple[float, ...], target: tuple[float, ...], setting: bool | None, axis: int | None
) -> None:
    assert separate_axis(spacing, target, setting) == axis


def test_the_new_shape_is_rounded_half_to_even() -> None:
    assert resampled_shape((22, 64, 45), (1.3, 0.8, 0.8), (1, 1, 1)) == (29, 51, 36)
    assert resampled_shape((5, 7, 3), (0.5, 0.5, 2.0), (1, 1, 1)) == (2, 4, 6)
