"""Deal groups of cases into folds so that each fold gets its share of every stratum.

The rule is that of scikit-learn's `StratifiedGroupKFold`, with the same folds as an answer; it is written out here as
importing it takes longer than to plan a hundred cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified_group_folds(strata: Sequence[str], groups: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Return the fold, from 0, that each case is validated in.

    Groups are dealt out one after another, those that differ most between strata first. Each goes to the fold where it
    keeps the shares of the strata most even, and of equally good ones to the fold with the fewest cases.

    Args:
        strata: the stratum of each case.
        groups: the number of each case's group, from 0 without gaps; no group is divided.
        folds: the number of folds, 2 or more and at most as many as groups.

    >>> stratified_group_folds(["a", "a", "b", "b"], np.array([0, 1, 2, 3]), 2).tolist()
    [0, 1, 0, 1]
    """
    _, stratum, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    counts = np.zeros((int(groups.max()) + 1, len(sizes)))
    np.add.at(counts, (groups, stratum), 1)
    chosen = np.empty(len(counts), np.int64)
    held = np.zeros((folds, len(sizes)))
    diagonal = np.arange(folds)
    for group in np.argsort(-np.std(counts, axis=1), kind="stable"):
        dealt = np.repeat(held[None], folds, axis=0)  # (fold that gets the group, fold, stratum)
        dealt[diagonal, diagonal] += counts[group]
        unevenness = np.std(dealt / sizes, axis=1).mean(axis=1)
        chosen[group] = _best(unevenness.tolist(), held.sum(axis=1).tolist())
        held[chosen[group]] += counts[group]
    return chosen[groups]


def _best(unevenness: Sequence[float], cases: Sequence[float]) -> int:
    """Return the fold of the least unevenness, of nearly equal ones (as numpy's `isclose` has it) the smallest."""
    best, least, fewest = 0, float("inf"), float("inf")
    for fold, (value, size) in enumerate(zip(unevenness, cases, strict=True)):
        alike = abs(value - least) <= 1e-8 + 1e-5 * abs(least) if fold else False
        if value < least or (alike and size < fewest):
            best, least, fewest = fold, value, size
    return best
