"""Intensity normalization, each scheme by hand."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from builders import make_image, make_plan
from numpy.typing import NDArray

from medseg.core.errors import DataError, PlanError
from medseg.plans.schema import Normalization
from medseg.plans.sections.data import Intensity
from medseg.preprocessing import cache
from medseg.preprocessing.normalize import (
    NORMALIZATIONS,
    Scaling,
    check_schemes,
    normalizer,
    register_normalization,
)
from medseg.preprocessing.volume import prepare

CT = Intensity(mean=50, median=40, std=20, min=-900, max=2000, percentile_00_5=-100, percentile_99_5=250)


def normalize(
    channel: NDArray, how: Normalization, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """One channel as `blocks` normalizes it: the scaling found, then applied; zero outside where it is masked."""
    values = channel.astype(np.float32)
    how_to = normalizer(channel, how, intensity, nonzero)
    assert isinstance(how_to, Scaling)
    how_to.apply(values)
    if how.nonzero_only and nonzero is not None:
        values[~nonzero] = 0
    return values


def run(scheme: Any, values: list[float], intensity: Intensity | None = None) -> list[float]:
    channel = np.array(values, dtype=np.int16 if all(float(v).is_integer() for v in values) else np.float32)
    result = normalize(channel.reshape(1, 1, -1), Normalization(scheme=scheme), intensity)
    assert result.dtype == np.float32
    return result.ravel().tolist()


@pytest.mark.parametrize(
    ("scheme", "values", "expected"),
    [
        ("none", [-5, 0, 7], [-5, 0, 7]),
        ("zscore", [1, 3, 5, 7], [-3 / 5**0.5, -1 / 5**0.5, 1 / 5**0.5, 3 / 5**0.5]),
        ("zscore", [4, 4, 4], [0, 0, 0]),
        ("ct", [-1000, -100, 50, 250, 3000], [-7.5, -7.5, 0, 10, 10]),
        ("rescale_0_1", [-2, 0, 6], [0, 0.25, 1]),
        ("rescale_0_1", [3, 3], [0, 0]),
        ("rgb_0_1", [0, 51, 255], [0, 0.2, 1]),
        ("rgb_minus1_1", [0, 127.5, 255], [-1, 0, 1]),
        ("imagenet_red", [0, 0.485 * 255, 255], [-0.485 / 0.229, 0, 0.515 / 0.229]),
        ("imagenet_green", [0, 0.456 * 255, 255], [-0.456 / 0.224, 0, 0.544 / 0.224]),
        ("imagenet_blue", [0, 0.406 * 255, 255], [-0.406 / 0.225, 0, 0.594 / 0.225]),
    ],
)
def test_schemes_by_hand(scheme: str, values: list[float], expected: list[float]) -> None:
    assert run(scheme, values, CT) == pytest.approx(expected, abs=1e-6)


def test_a_constant_ct_foreground_does_not_divide_by_zero() -> None:
    flat = CT.model_copy(update={"std": 0.0, "mean": 250.0})
    assert run("ct", [250, 300], flat) == [0, 0]


def test_zscore_within_the_content_leaves_zero_outside() -> None:
    channel = np.array([[[0, 0, 1, 3, 5, 7, 0]]], dtype=np.float32)
    nonzero = channel > 0
    inside = normalize(channel, Normalization(scheme="zscore", nonzero_only=True), None, nonzero)
    expected = np.array([0, 0, -3, -1, 1, 3, 0]) / 5**0.5
    np.testing.assert_allclose(inside.ravel(), expected, rtol=1e-6)
    everywhere = normalize(channel, Normalization(scheme="zscore"), None, nonzero)
    assert everywhere[0, 0, 0] == pytest.approx((0 - channel.mean()) / channel.std())


def test_an_empty_scan_stays_finite() -> None:
    empty = np.zeros((1, 2, 2))
    for nonzero in (np.zeros((1, 2, 2), dtype=bool), None):
        assert not normalize(empty, Normalization(scheme="zscore", nonzero_only=True), None, nonzero).any()


def test_large_intensities_keep_their_precision() -> None:
    rng = np.random.default_rng(0)
    channel = (30000 + rng.normal(size=(40, 40, 40))).astype(np.float32)
    result = normalize(channel, Normalization(scheme="zscore"), None)
    wide = channel.astype(np.float64)
    np.testing.assert_allclose(result, (wide - wide.mean()) / wide.std(), atol=5e-3)


def test_the_input_is_not_changed() -> None:
    for scheme in ("none", "zscore", "ct", "rescale_0_1", "rgb_0_1"):
        channel = np.array([[[1.0, 2.0, 200.0]]], dtype=np.float32)
        result = normalize(channel, Normalization(scheme=scheme), CT)
        result += 1
        assert channel.ravel().tolist() == [1, 2, 200]


def test_what_does_not_suit_a_scheme_is_said() -> None:
    with pytest.raises(DataError, match="needs the intensity statistics of the plan"):
        run("ct", [1, 2])
    for scheme in ("rgb_0_1", "rgb_minus1_1", "imagenet_red"):
        with pytest.raises(DataError, match=r"expects 0 to 255; the values run from -1 to 300") as caught:
            run(scheme, [-1, 300])
        assert "rescale_0_1" in str(caught.value)


# --- schemes of one's own ---


def ranks(channel: NDArray, intensity: Any, nonzero: NDArray[np.bool_] | None) -> Any:
    """Each voxel's rank among the values of the channel, or of its content: no clip, shift and division."""
    known = np.sort(channel[nonzero] if nonzero is not None else channel.ravel())
    return lambda values: np.searchsorted(known, values) / known.size


@pytest.fixture
def registered() -> Iterator[None]:
    register_normalization("ranks", ranks)
    register_normalization("halves", lambda channel, intensity, nonzero: Scaling(divisor=2.0))
    yield
    del NORMALIZATIONS["ranks"], NORMALIZATIONS["halves"]


def prepared(array: NDArray, **how: Any) -> NDArray[np.float32]:
    plan = make_plan(3, {"normalization": [how]})
    return prepare(make_image(array), plan, plan.configuration("main")).image[0]


@pytest.mark.usefixtures("registered")
def test_a_scheme_of_ones_own_is_a_scaling_or_any_function_of_the_channel() -> None:
    array = np.arange(1, 28, dtype=np.int16).reshape(3, 3, 3)
    np.testing.assert_array_equal(prepared(array, scheme="halves"), array / np.float32(2))
    np.testing.assert_allclose(prepared(array, scheme="ranks"), (array - 1) / 27, rtol=1e-6)


@pytest.mark.usefixtures("registered")
def test_it_is_told_where_the_content_is_and_zero_stays_outside() -> None:
    array = np.zeros((4, 4, 4), dtype=np.int16)
    array[0, 0, 0] = array[3, 3, 3] = 4  # opposite corners: the box is whole, and most of it is empty
    array[0, 0, 1] = 2
    inside = prepared(array, scheme="ranks", nonzero_only=True)
    assert inside[0, 0, 1] == 0
    assert inside[0, 0, 0] == pytest.approx(1 / 3)
    assert not inside[1:3].any()


@pytest.mark.usefixtures("registered")
def test_what_it_makes_is_checked() -> None:
    array = np.ones((3, 3, 3), dtype=np.int16)
    NORMALIZATIONS["ranks"] = lambda channel, intensity, nonzero: lambda values: values[:1]
    with pytest.raises(DataError, match=r"ranks turns a channel of shape \(3, 3, 3\) into \(1, 3, 3\)"):
        prepared(array, scheme="ranks")
    NORMALIZATIONS["ranks"] = lambda channel, intensity, nonzero: lambda values: values * np.nan
    with pytest.raises(DataError, match="ranks makes values that are not finite"):
        prepared(array, scheme="ranks")


def test_an_unknown_scheme_is_answered_with_the_known_ones_and_how_to_add_one() -> None:
    configuration = make_plan(3, {"normalization": [{"scheme": "zsore"}]}).configuration("main")
    told = rf"configurations\.main\.normalization\.0\.scheme is 'zsore'.*there are {', '.join(NORMALIZATIONS)}"
    with pytest.raises(PlanError, match=told) as caught:
        check_schemes(configuration, "main")
    assert "medseg.register_normalization('zsore'" in str(caught.value)
    with pytest.raises(PlanError, match="medseg has a normalization named 'ct'"):
        register_normalization("ct", ranks)


@pytest.mark.usefixtures("registered")
def test_a_scheme_that_was_changed_does_not_find_what_it_made_before() -> None:
    plan = make_plan(3, {"normalization": [{"scheme": "ranks"}]})
    before = cache._recipe(plan, plan.configuration("main"))
    register_normalization("ranks", lambda channel, intensity, nonzero: Scaling(shift=1.0))
    assert cache._recipe(plan, plan.configuration("main")) != before
    register_normalization("ranks", ranks)
    assert cache._recipe(plan, plan.configuration("main")) == before
