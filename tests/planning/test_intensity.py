"""Intensity statistics, small enough to check by hand."""

import numpy as np
import pytest

from medseg.planning.intensity import pool_intensities, sample_channel, values_kept


def pool(*cases):
    return pool_intensities([sample_channel(np.asarray(case)) for case in cases])


def test_one_case():
    pooled = pool([4, 1, 3, 2])
    assert (pooled.mean, pooled.min, pooled.max, pooled.median) == (2.5, 1, 4, 2)
    assert pooled.std == pytest.approx(np.std([1, 2, 3, 4]))
    assert (pooled.percentile_00_5, pooled.percentile_99_5) == (1, 4)


def test_every_case_weighs_the_same():
    pooled = pool([0], [10] * 1000)
    assert (pooled.mean, pooled.std, pooled.median) == (5, 5, 0)


def test_the_order_of_cases_says_nothing():
    generator = np.random.default_rng(0)
    cases = [generator.integers(0, 40, size) for size in (30, 700, 12_000, 30, 5)]  # many equal values
    assert pool(*cases).model_dump() == pytest.approx(pool(*cases[::-1]).model_dump())


def test_equals_drawing_equally_many_values_from_each_case():
    generator = np.random.default_rng(0)
    cases = [
        generator.normal(shift, 1 + shift, size).astype(np.float32) for shift, size in ((0, 50), (2, 30_000), (5, 4000))
    ]
    drawn = np.concatenate([generator.choice(case, 300_000) for case in cases])  # as nnU-Net does
    pooled = pool(*cases)
    assert pooled.mean == pytest.approx(drawn.mean(), abs=0.02)
    assert pooled.std == pytest.approx(drawn.std(), abs=0.02)
    expected = np.percentile(drawn, [0.5, 50, 99.5])
    assert [pooled.percentile_00_5, pooled.median, pooled.percentile_99_5] == pytest.approx(expected, abs=0.1)
    assert (pooled.min, pooled.max) == (min(case.min() for case in cases), max(case.max() for case in cases))


def test_a_large_case_keeps_few_values_and_exact_extremes():
    values = np.random.default_rng(1).permutation(1_000_000).astype(np.int32)
    sample = sample_channel(values)
    assert len(sample.sorted_values) == 10_000
    assert (sample.minimum, sample.maximum, sample.mean) == (0, 999_999, 499_999.5)
    pooled = pool_intensities([sample])
    assert pooled.percentile_00_5 == pytest.approx(5_000, abs=100)
    assert pooled.median == pytest.approx(500_000, abs=100)
    assert pooled.percentile_99_5 == pytest.approx(995_000, abs=100)


def test_large_values_do_not_overflow():
    pooled = pool(np.full(1000, 60_000, np.uint16), np.full(5, 40_000, np.uint16))
    assert (pooled.mean, pooled.std) == (50_000, 10_000)


def test_a_large_data_set_keeps_fewer_values_of_each_case_and_the_same_percentiles():
    generator = np.random.default_rng(2)
    cases = [generator.normal(shift, 10, 20_000) for shift in generator.normal(0, 3, 100)]
    many, few = (pool_intensities([sample_channel(case, kept) for case in cases]) for kept in (10_000, 500))
    assert few.percentile_00_5 == pytest.approx(many.percentile_00_5, abs=0.2)
    assert few.median == pytest.approx(many.median, abs=0.02)
    assert few.percentile_99_5 == pytest.approx(many.percentile_99_5, abs=0.2)
    assert (few.mean, few.std, few.min, few.max) == (many.mean, many.std, many.min, many.max)


@pytest.mark.parametrize("channels", [1, 4, 8])
@pytest.mark.parametrize("cases", [1, 100, 1000, 10_000])
def test_the_values_kept_of_all_cases_together_are_bounded(cases, channels):
    assert cases * channels * values_kept(cases, channels) <= 40_000_000
