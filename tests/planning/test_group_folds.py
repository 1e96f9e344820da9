"""Folds of groups are those of scikit-learn's StratifiedGroupKFold."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from medseg.planning.group_folds import stratified_group_folds


@pytest.mark.parametrize("seed", range(40))
def test_the_folds_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    folds = int(rng.choice([2, 3, 5, 20]))
    groups = np.concatenate([np.arange(25), rng.integers(0, 25, rng.integers(30, 120))])
    strata = np.concatenate([["a"] * folds, rng.choice(list("abcd")[: rng.integers(1, 5)], len(groups) - folds)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        parts = StratifiedGroupKFold(folds).split(strata, strata, groups)
        expected = {int(case): fold for fold, (_, val) in enumerate(parts) for case in val}
    assert stratified_group_folds(strata.tolist(), groups, folds).tolist() == [
        expected[case] for case in range(len(groups))
    ]
