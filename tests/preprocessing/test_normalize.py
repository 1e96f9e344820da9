"""Intensity normalization, each scheme by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.plans.schema import Normalization
from medseg.plans.sections import Intensity
from medseg.preprocessing.normalize import scaling

CT = Intensity(mean=50, median=40, std=20, min=-900, max=2000, percentile_00_5=-100, percentile_99_5=250)


def normalize(
    channel: NDArray, how: Normalization, intensity: Intensity | None, nonzero: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """One channel as `blocks` normalizes it: the scaling found, then applied; zero outside where it is masked."""
    values = channel.astype(np.float32)
    scaling(channel, how, intensity, nonzero).apply(values)
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
    with pytest.raises(DataError, match=r"expects 0 to 255; the values run from -1 to 300") as caught:
        run("rgb_0_1", [-1, 300])
    assert "rescale_0_1" in str(caught.value)
