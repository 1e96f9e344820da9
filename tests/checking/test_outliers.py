"""What stands alone, on values that can be followed by eye."""

import numpy as np
import pytest

from medseg.checking.outliers import alone, company_needed, shifted_alone, stand_alone, tolerance, usual


@pytest.mark.parametrize(
    ("values", "within", "odd"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 9], 2, [7]),
        ([1, 1, 1, 1, 1, 1, 1, 2.5], 2, []),  # within the tolerance
        ([1] * 20 + [5] * 3, 1, []),  # a second scanner
        ([1] * 20 + [5] * 2, 1, [20, 21]),  # two are not a company for each other
        ([1] * 20 + [5, 9], 1, [20, 21]),
        ([1] * 10 + [5] + [9] * 10, 1, []),  # between two groups, not at an end
        ([0, 10, 20, 30, 40, 50, 60, 70], 1, []),  # nothing that others could be far from
        ([1, 1, 1, 1, 9], 1, []),  # too few to say
        ([], 1, []),
    ],
)
def test_what_stands_alone(values, within, odd):
    assert np.flatnonzero(stand_alone(np.array(values, float), within)).tolist() == odd


def test_a_large_set_is_compared_in_blocks():
    values = np.array([*np.linspace(0, 1, 599), 30.0])
    assert np.flatnonzero(stand_alone(values, 3)).tolist() == [599]


@pytest.mark.parametrize("count", [2000, 5000])
def test_a_large_set_is_compared_with_a_part_of_its_cases(count):
    rng = np.random.default_rng(0)
    sets = np.sort(rng.normal(0, 100, 5)) + rng.normal(0, 3, (count, 1))
    lonely = rng.choice(count, 4, replace=False)
    sets[lonely] += np.array([3000, 5000, 7000, 9000])[:, None]
    others = np.setdiff1d(np.arange(count), lonely)
    sets[rng.choice(others, round(0.04 * count), replace=False)] += 20_000  # a second scanner
    assert np.flatnonzero(shifted_alone(sets, 0.5)).tolist() == sorted(lonely)
    assert np.flatnonzero(stand_alone(sets[:, 2], 300)).tolist() == []  # between the two scanners, not at an end


def test_single_values_and_sets_of_one_value_are_compared_alike():
    """The rule for single values is that for distances, in sorted order."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = np.where(rng.random(80) < 0.1, rng.normal(0, 20, 80), rng.normal(0, 1, 80))
        values[0] = 100.0
        of_pairs = alone(lambda rows, columns: np.abs(values[rows, None] - values[columns]), len(values), 3.0)  # noqa: B023
        assert not (stand_alone(values, 3.0) & ~of_pairs).any()
        assert stand_alone(values, 3.0)[0]


def test_a_shift_of_all_quantiles_stands_alone_and_more_air_does_not():
    base = np.array([-1000.0, -900, 0, 100, 300])
    more_air = np.array([-1000.0, -1000, -980, 0, 200])
    shifted = base + 1024
    wider = base * 1.4
    sets = np.stack([base] * 8 + [more_air, wider, shifted])
    assert np.flatnonzero(shifted_alone(sets, 0.5)).tolist() == [10]


def test_constant_quantiles_are_no_shift_of_each_other():
    assert not shifted_alone(np.ones((8, 5)), 0.5).any()


def test_tolerance_follows_the_spread_within_limits():
    values = np.array([0.0, 1, 2, 3, 4])  # median distance to the median is 1
    assert tolerance(values, least=0, deviations=2) == pytest.approx(2 * 1.4826)
    assert tolerance(values, least=5, deviations=2) == 5
    assert tolerance(values, least=0, most=1, deviations=2) == 1
    assert tolerance(np.array([]), least=0.5) == 0.5


def test_the_company_needed_grows_with_the_set():
    assert [company_needed(count) for count in (6, 60, 100, 1000)] == [2, 2, 3, 30]


def test_usual_leaves_the_odd_ones_out():
    values = np.array([*range(1, 21), 1000.0])
    assert usual(values, values > 100) == (2, 19)
