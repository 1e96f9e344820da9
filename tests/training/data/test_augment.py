"""Parameters of the changes: how often, in which range, and independent of each other, as in nnU-Net v2."""

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from builders import make_augmentation
from numpy.typing import NDArray
from scipy import stats

from medseg.planning.recipe import training_recipe
from medseg.plans.sections.augmentation import Augmentation
from medseg.training.data.augment import Changes, draw_changes
from medseg.training.data.sampling import generator

UNLIKELY = 1e-4
DRAWS = 4000
SHARES = {
    "noise_std": 0.1,
    "blur": 0.2 * 0.5,
    "brightness": 0.15,
    "contrast": 0.15,
    "zoom": 0.25 * 0.5,
    "gamma_inverted": 0.1,
    "gamma": 0.3,
}
"""Of channels that are touched. nnU-Net blurs and coarsens half of the channels of the samples that it chooses."""
RANGES = {"noise_std": (0.0, 0.1), "blur": (0.5, 1.0), "zoom": (0.5, 1.0)}
TWO_SIDED = {"brightness": (0.75, 1.25), "contrast": (0.75, 1.25), "gamma_inverted": (0.7, 1.5), "gamma": (0.7, 1.5)}


@pytest.fixture(scope="module")
def drawn() -> Changes:
    """What the default plan does to samples of two channels and three axes."""
    recipe, _ = training_recipe("gpu", 3)
    settings = Augmentation.model_validate(recipe["augmentation"])
    return draw_changes([generator(0, step, 0) for step in range(DRAWS)], settings, 2, 3)


def column(drawn: Changes, name: str) -> NDArray[np.float64]:
    """(draws, numbers): a parameter of all samples, NaN where nothing is done."""
    return np.reshape(getattr(drawn, name), (DRAWS, -1))


def touched(drawn: Changes, name: str) -> NDArray[np.bool_]:
    """(draws,): whether the first channel is changed."""
    return ~np.isnan(column(drawn, name)[:, 0])


@pytest.mark.parametrize(("name", "share"), SHARES.items())
def test_each_change_happens_as_often_as_in_nnunet(drawn: Changes, name: str, share: float) -> None:
    found = touched(drawn, name)
    assert stats.binomtest(int(found.sum()), DRAWS, share).pvalue > UNLIKELY


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma_inverted", "gamma"])
def test_factors_are_of_all_channels_or_of_none(drawn: Changes, name: str) -> None:
    values = column(drawn, name)
    np.testing.assert_array_equal(np.isnan(values[:, 0]), np.isnan(values[:, 1]))


@pytest.mark.parametrize(("name", "width"), [("blur", 3), ("zoom", 1)])
def test_half_of_the_channels_of_a_sample_lose_detail(drawn: Changes, name: str, width: int) -> None:
    first, second = (~np.isnan(column(drawn, name)[:, channel * width]) for channel in range(2))
    either = first | second
    chosen = 2 * SHARES[name]
    assert stats.binomtest(int(either.sum()), DRAWS, 0.75 * chosen).pvalue > UNLIKELY
    assert stats.binomtest(int((first & second).sum()), int(either.sum()), 1 / 3).pvalue > UNLIKELY


@pytest.mark.parametrize(("name", "limits"), RANGES.items())
def test_numbers_are_even_within_their_range(drawn: Changes, name: str, limits: tuple[float, float]) -> None:
    low, high = limits
    for values in column(drawn, name).T:
        there = values[~np.isnan(values)]
        assert stats.kstest(there, stats.uniform(low, high - low).cdf).pvalue > UNLIKELY


@pytest.mark.parametrize(("name", "limits"), TWO_SIDED.items())
def test_factors_lie_on_both_sides_of_one(drawn: Changes, name: str, limits: tuple[float, float]) -> None:
    low, high = limits
    for values in column(drawn, name).T:
        below, above = values[values < 1], values[values >= 1]
        assert stats.binomtest(len(below), len(below) + len(above), 0.5).pvalue > UNLIKELY
        assert stats.kstest(below, stats.uniform(low, 1 - low).cdf).pvalue > UNLIKELY
        assert stats.kstest(above, stats.uniform(1, high - 1).cdf).pvalue > UNLIKELY


def test_changes_are_independent_of_each_other(drawn: Changes) -> None:
    for one, other in combinations(SHARES, 2):
        first, second = touched(drawn, one), touched(drawn, other)
        table = [[int((a & b).sum()) for b in (second, ~second)] for a in (first, ~first)]
        assert stats.fisher_exact(table).pvalue > UNLIKELY, (one, other)


@pytest.mark.parametrize("name", ["blur", "brightness", "contrast", "gamma"])
def test_channels_and_axes_have_numbers_of_their_own(drawn: Changes, name: str) -> None:
    values = column(drawn, name)
    both = values[~np.isnan(values).any(1)]
    assert len(both) > 100
    ranks = np.abs(stats.spearmanr(both).statistic)
    largest = ranks if np.ndim(ranks) == 0 else ranks[np.triu_indices(len(ranks), 1)].max()
    assert largest < 5 / np.sqrt(len(both))


def test_every_sample_has_noise_of_its_own(drawn: Changes) -> None:
    assert len(set(drawn.noise_seed.tolist())) == DRAWS


def test_a_sample_follows_from_its_own_generator() -> None:
    recipe, _ = training_recipe("gpu", 3)
    settings = Augmentation.model_validate(recipe["augmentation"])
    together = draw_changes([generator(0, 0, number) for number in range(50)], settings, 3, 2)
    for number in (0, 7, 49):
        alone = draw_changes([generator(0, 0, number)], settings, 3, 2)
        for field in fields(Changes):
            np.testing.assert_array_equal(getattr(alone, field.name)[0], getattr(together, field.name)[number])


def test_all_numbers_that_are_asked_for_are_used_once() -> None:
    for channels, dimensions in ((1, 2), (4, 3)):
        source = generator(0, 0, 0)
        draw_changes([source], make_augmentation(), channels, dimensions)
        count = 9 + channels * (11 + dimensions)
        np.testing.assert_array_equal(source.random(), generator(0, 0, 0).random(count + 1)[-1])
