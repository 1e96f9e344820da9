"""Statistics: worked examples, and intervals that cover what they claim to."""

import numpy as np
import pytest

from medseg.evaluation.statistics import Comparison, compare, describe, holm, interval_of_mean


def test_undefined_figures_are_left_out_and_counted():
    found = describe([0.5, None, 1.0, float("nan"), 0.75, 0.25], ["a", "a", "b", "b", "c", "d"])
    assert (found.n, found.n_groups) == (4, 4)
    assert (found.mean, found.median, found.q1, found.q3) == (0.625, 0.625, 0.4375, 0.8125)
    assert (found.minimum, found.maximum) == (0.25, 1.0)


def test_nothing_defined_gives_no_figures():
    assert describe([None, None], ["a", "b"]).mean is None


def test_two_patients_give_no_interval():
    found = describe([0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b"])
    assert found.mean == pytest.approx(0.25)
    assert found.low is None
    assert found.high is None


def test_equal_cases_give_an_interval_of_no_width():
    found = describe([0.5] * 6, list("abcdef"))
    assert (found.low, found.high) == (0.5, 0.5)


def test_the_interval_is_the_same_each_time_and_holds_the_mean():
    values = np.random.default_rng(0).beta(8, 2, 40).tolist()
    patients = [f"p{i // 2}" for i in range(40)]
    first, second = describe(values, patients), describe(values, patients)
    assert first == second
    assert first.low < first.mean < first.high


def test_cases_of_one_patient_count_as_one_observation():
    """Four copies of each case tell nothing new: the interval stays, where counting cases would halve it."""
    values = np.random.default_rng(1).normal(0.8, 0.1, 20)
    once = describe(values.tolist(), [f"p{i}" for i in range(20)])
    copies = describe(np.repeat(values, 4).tolist(), [f"p{i}" for i in range(20) for _ in range(4)])
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high))


def test_the_mean_over_structures_weighs_structures_and_not_cases():
    figures = np.array([[1.0, 0.0]] + [[1.0, np.nan]] * 9)
    low, high = interval_of_mean(figures, np.array([f"p{i}" for i in range(10)]))
    assert 0.5 <= low <= high <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "skewed", "clustered"])
def test_intervals_cover_the_true_mean_93_to_97_percent_of_the_time(shape):
    random = np.random.default_rng(3)
    n, repeats, covered = 40, 500, 0
    for _ in range(repeats):
        centres = random.normal(0.8, 0.05, n) if shape == "normal" else random.beta(8, 2, n)
        sizes = random.integers(1, 4, n) if shape == "clustered" else np.ones(n, int)
        groups = np.repeat(np.arange(n), sizes)
        low, high = interval_of_mean(centres[groups][:, None], groups)
        covered += low <= 0.8 <= high
    assert 0.93 <= covered / repeats <= 0.97


def test_holm_worked_example():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None}) == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
        "d": None,
    }


def test_a_constant_gain_in_six_patients_has_the_smallest_p_that_six_signs_can_have():
    found = compare([0.8, 0.7, 0.9, 0.6, 0.5, 0.75], [0.7, 0.5, 0.6, 0.2, 0.0, 0.15], list("abcdef"))
    assert found.difference.mean == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.5 + 0.6) / 6)
    assert found.p == pytest.approx(2 / 2**6)


def test_comparison_uses_pairs_that_are_defined_on_both_sides():
    found = compare([0.8, None, 0.9], [0.7, 0.5, None], ["a", "b", "c"])
    assert (found.difference.n, found.p) == (1, None)


def test_two_equal_predictions_have_no_p():
    assert compare([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], ["a", "b", "c"]) == Comparison(
        describe([0.0, 0.0, 0.0], ["a", "b", "c"]), None
    )
