"""Values counted in a table or sorted: the same answer, in the type of the values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.planning.sampled import count_values, number_values


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 0, 255, 3], np.uint8),
        np.array([-1024, 3071, 0, -1024], np.int16),
        np.array([-(2**40), 2**40, 5, 5]),  # too far apart for a table
        np.array([2**64 - 1, 2**64 - 2, 2**64 - 1], np.uint64),
        np.array([0.5, -0.25, 0.5], np.float32),
        np.array([7], np.int8),
    ],
)
def test_values_are_those_of_sorting(values: NDArray) -> None:
    expected, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    for found, numbers, wanted in ((*count_values(values), counts), (*number_values(values), inverse)):
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(numbers, wanted)
