"""The second stage of a cascade: what it sees beside the scan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_image, make_plan
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.image import Image
from medseg.inference.cascade import largest_share, with_previous
from medseg.inference.predictor import Predictor
from medseg.models.model import Model
from medseg.plans.schema import Plan, Resampling
from medseg.preprocessing.volume import prepare

LINEAR = Resampling(order=1, order_across=0, separate_axis=None)
CPU = torch.device("cpu")


class Repeat(torch.nn.Module):
    """Answers with what the stage before answered."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [torch.cat((self.level.expand_as(x[:, :1]), x[:, 1:]), dim=1)]


class Bright(torch.nn.Module):
    """Calls what is bright `one`, and what is dark `two`."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [torch.cat((self.level.expand_as(x), x, -x), dim=1)]


def cascade_plan(configuration: dict[str, Any] | None = None, **others: Any) -> Plan:
    return make_plan(3, {"previous_stage": "low", "patch_voxels": [8, 8, 8], **(configuration or {})}, **others)


def model_of(plan: Plan, network: torch.nn.Module, previous: Model | None = None) -> Model:
    return Model(plan, "main", ("0",), (network.eval(),), Path(), previous)


def scan(shape: tuple[int, ...] = (9, 10, 11), spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Image:
    return make_image(np.random.default_rng(0).normal(100, 20, shape).astype(np.float32), spacing)


def label_of(image: Image, array: NDArray) -> Image:
    return image.with_array(array[None].astype(np.uint8))


def test_every_value_becomes_a_channel_behind_the_scans() -> None:
    image, model = scan(), model_of(cascade_plan(), Repeat())
    answer = np.random.default_rng(1).integers(0, 3, image.shape_zyx)
    volume = with_previous(model, image, label_of(image, answer))
    np.testing.assert_array_equal(volume.image[0], prepare(image, model.plan, model.configuration).image[0])
    np.testing.assert_array_equal(volume.image[1:], [answer == 1, answer == 2])
    assert volume.image.dtype == np.float32


def test_values_of_overlapping_regions_are_channels_each() -> None:
    regions = {"structures": {"all": [1, 4], "core": 4}, "activation": "sigmoid", "region_values": [1, 4]}
    image, model = scan(), model_of(cascade_plan(labels=regions), Repeat())
    answer = np.random.default_rng(1).choice([0, 1, 4], image.shape_zyx)
    volume = with_previous(model, image, label_of(image, answer))
    np.testing.assert_array_equal(volume.image[1:], [answer == 1, answer == 4])


def test_channels_are_turned_and_cropped_as_the_scan_is() -> None:
    array = np.zeros((9, 10, 11), np.float32)
    array[1:7, 2:8, 3:10] = 1 + np.arange(6 * 6 * 7).reshape(6, 6, 7)
    image, model = make_image(array), model_of(cascade_plan(transpose_forward=[2, 0, 1]), Repeat())
    answer = (array > 100).astype(int) + (array > 200)
    volume = with_previous(model, image, label_of(image, answer))
    turned = answer[1:7, 2:8, 3:10].transpose(2, 0, 1)
    np.testing.assert_array_equal(volume.image[1:], [turned == 1, turned == 2])


def test_a_cascade_is_predicted_stage_by_stage() -> None:
    image = scan()
    first = model_of(make_plan(3, {"patch_voxels": [8, 8, 8]}), Bright())
    second = model_of(cascade_plan(), Repeat(), first)
    theirs = Predictor(first, CPU)(image)
    assert {0, 1, 2} == {*np.unique(theirs.array).tolist()}
    np.testing.assert_array_equal(Predictor(second, CPU)(image).array, theirs.array)
    third = model_of(cascade_plan(), Repeat(), second)
    np.testing.assert_array_equal(Predictor(third, CPU)(image).array, theirs.array)


def test_a_model_of_one_stage_asks_for_no_other() -> None:
    image, model = scan(), model_of(make_plan(3), Bright())
    volume = Predictor(model, CPU).prepare(image)
    np.testing.assert_array_equal(volume.image, prepare(image, model.plan, model.configuration).image)


def test_what_the_first_stage_found_counts_as_content() -> None:
    """nnU-Net takes mean and deviation over all voxels that are not zero or belong to a structure."""
    array = np.zeros((4, 4, 4), np.float32)
    array[0, 0, 0], array[3, 3, 3] = 3.0, 5.0
    answer = np.zeros((4, 4, 4))
    answer[0, 0, 1] = 1
    image = make_image(array)
    model = model_of(cascade_plan({"normalization": [{"scheme": "zscore", "nonzero_only": True}]}), Repeat())
    seen = with_previous(model, image, label_of(image, answer)).image[0]
    content = np.array([3.0, 5.0, 0.0])
    expected = (content - content.mean()) / content.std()
    np.testing.assert_allclose([seen[0, 0, 0], seen[3, 3, 3], seen[0, 0, 1]], expected, rtol=1e-6)
    assert np.count_nonzero(seen) == 3


# --- resampling of labels by the largest share ---


def line(values: list[int], size: int) -> list[int]:
    resampled = largest_share(np.array(values, np.int16)[None, None], (1, 1, size), LINEAR, None)
    return resampled[0, 0].tolist()


def test_by_hand() -> None:
    assert line([0, 0, 1, 1], 8) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert line([0, 5, 0], 6) == [0, 0, 5, 5, 0, 0]
    assert line([1, 2], 1) == [2]  # equal shares: the nearest voxel, and of two as near the later one
    assert line([2, 1], 1) == [1]
    assert line([3, 3, 3], 7) == [3] * 7


def test_where_three_meet_the_largest_wins_though_it_has_no_half() -> None:
    """Every voxel of the new grid lies amid four of the old one; two of them are 7."""
    label = np.array([[1, 7], [7, 2]], np.int16)[None]
    assert largest_share(label, (1, 1, 1), LINEAR, None).tolist() == [[[7]]]
    quarter = np.array([[1, 3], [4, 2]], np.int16)[None]
    assert largest_share(quarter, (1, 1, 1), LINEAR, None).tolist() == [[[2]]]  # a tie of four: the nearest one


def test_background_outside_of_the_content_is_a_label_of_its_own() -> None:
    inside = np.array([[0, 1], [0, 1]], np.int16)[None]
    outside = np.array([[-1, 1], [0, 1]], np.int16)[None]
    place = (1, 1, 3)  # the middle one has half of 1, and half of the rest
    assert largest_share(inside, place, LINEAR, None)[0, 0, 1] == 1
    assert largest_share(outside, place, LINEAR, None)[0, 0].tolist() == [0, 1, 1]


def test_slices_are_resampled_apart() -> None:
    label = np.random.default_rng(3).integers(0, 4, (5, 6, 7)).astype(np.int16)
    apart = largest_share(label, (8, 9, 5), LINEAR, 0)
    slices = np.stack([largest_share(one[None], (1, 9, 5), LINEAR, None)[0] for one in label])
    np.testing.assert_array_equal(apart, slices[[0, 0, 1, 2, 2, 3, 4, 4]])


@pytest.mark.parametrize(("old", "new"), [((5, 6, 7), (9, 4, 7)), ((8, 3, 5), (5, 7, 11)), ((4, 4, 4), (8, 8, 8))])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_equal_to_one_mask_after_another(old: tuple[int, ...], new: tuple[int, ...], order: int) -> None:
    label = np.random.default_rng(old[0]).integers(-1, 4, old).astype(np.int16)
    how = Resampling(order=order, order_across=0, separate_axis=None)
    zoom = [size / present for size, present in zip(new, old, strict=True)]
    shares = np.stack(
        [
            ndimage.zoom((label == value).astype(float), zoom, order=order, mode="nearest", grid_mode=True)
            for value in range(-1, 4)
        ]
    )
    largest = np.sort(shares, axis=0)
    clear = largest[-1] - largest[-2] > 1e-6  # ties have tests of their own
    result = largest_share(label, new, how, None)
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(result[clear], shares.argmax(0)[clear] - 1)


def test_the_same_shape_changes_nothing() -> None:
    label = np.random.default_rng(0).integers(0, 3, (3, 4, 5)).astype(np.int16)
    np.testing.assert_array_equal(largest_share(label, (3, 4, 5), LINEAR, None), label)
