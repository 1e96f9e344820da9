"""Fit the quality model, which judges answers, on out-of-fold answers: regressions, intervals, and thresholds of flags.

Every flag has a threshold on how odd a figure may be: what a small share of the good out-of-fold answers exceeds. The
share is the same for all flags, and chosen so that together they name at most the stated share of the good answers of
patients who were left out when the thresholds were taken. What an out-of-fold case is compared with never includes its
own fold, or where that is not possible its own patient.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from medseg.confidence.conformal import coverage
from medseg.confidence.distance import rounded
from medseg.confidence.measures import Example
from medseg.confidence.reference import Oddness, Reference, deep_oddness, fit_reference
from medseg.confidence.regression import Regression, figures_of, fit_regressions
from medseg.confidence.volume_interval import VolumeInterval, fit_volume_intervals
from medseg.plans.sections.section import Fraction, NonNegative, Section

FALSE_ALARMS = 0.08
"""Share of good answers of left-out patients that may carry a flag: some less than the tenth that is promised, as the
share is chosen on them."""
_LEFT_OUT = 10
"""In how many parts patients are left out, at most: one by one where there are no more."""
GOOD_DICE = 0.6
"""An answer is good, for counting false alarms, if each structure has this Dice, or its median where that is lower."""
FEWEST_CASES = 12
_LEVELS = [float(level) for level in np.geomspace(0.05, 0.0002, 40)]
_DICE_SHARE = 4
"""How many times more good answers may carry the flag `dice` than any other: it sums up what others see."""
DICE = "dice"
"""The kind of the flag on a predicted Dice; its oddness is what is missing to 1."""


class Evidence(Section):
    """How reliable the quality model was on out-of-fold answers, each judged by a fit without its own fold.

    Thresholds, which judge flags, are those of the other patients.

    Attributes:
        cases: number of out-of-fold cases.
        patients: number of patients whose cases they are; None in files of earlier versions.
        good: how many of them are good answers.
        flagged_good: share of the good answers that carry a flag.
        flagged_bad: share of the others that do; None where all are good.
        correlation: {structure: Pearson's correlation of predicted and true Dice}.
        error: {structure: mean absolute error of the predicted Dice}.
        coverage: {structure: share of true Dice within the interval}.
    """

    cases: PositiveInt
    patients: PositiveInt | None = None
    good: int
    flagged_good: Fraction
    flagged_bad: Fraction | None
    correlation: dict[str, float]
    error: dict[str, float]
    coverage: dict[str, float]


class Quality(Section):
    """The quality model, by which answers are judged.

    Attributes:
        reference: the usual range of the training cases.
        dice: {structure: regressions of its Dice}, the better informed one first.
        volume: {structure: intervals of its volume} likewise.
        level: share of good answers that exceed a threshold.
        thresholds: {kind of flag: {structure, or "" for the scan: oddness above which it is raised}}.
        evidence: how reliable it was on out-of-fold answers.
    """

    reference: Reference
    dice: dict[str, list[Regression]] = {}
    volume: dict[str, list[VolumeInterval]] = {}
    level: Annotated[float, Field(ge=0, le=1)]
    thresholds: dict[str, dict[str, NonNegative]]
    evidence: Evidence

    def predicted_dice(
        self, figures: Mapping[str, float], name: str
    ) -> tuple[float, float | None, float | None] | None:
        """Return predicted Dice with the bounds of its interval, if these are known; None without a regression.

        Args:
            figures: `figures_of` the structure.
            name: the structure.
        """
        for regression in self.dice.get(name, ()):
            if regression.fits(figures):
                predicted = regression.predict(figures)
                return (predicted, *(regression.interval(predicted) or (None, None)))
        return None


def fit_quality(examples: Sequence[Example], names: Sequence[str]) -> Quality | None:
    """Fit the quality model.

    Args:
        examples: out-of-fold cases.
        names: the structures.

    Returns:
        None with fewer than twelve cases, or fewer than two groups to leave out.
    """
    groups = sorted({example.group for example in examples})
    if len(examples) < FEWEST_CASES or len(groups) < 2:
        return None
    reference = fit_reference(examples, names)
    odd, misplaced = _odd_unseen(examples, names, groups, reference)
    fits = {name: fit for name in names if (fit := _fit_dice(examples, name, odd)) is not None}
    for name, fit in fits.items():
        for case, predicted in fit.unseen.items():
            odd[case][DICE, name] = 1 - predicted
    good = _good(examples, names)
    parts = _left_out({example.case: example.patient for example in examples})
    level = _choose_level(odd, misplaced, good, parts)
    unseen_flags = _raised_unseen(odd, good, parts, level)
    raised = {case: misplaced[case] or unseen_flags[case] for case in odd}
    shares = [[raised[case] for case, is_good in good.items() if is_good == kind] for kind in (True, False)]
    flagged = [round(float(np.mean(values)), 4) if values else None for values in shares]
    return Quality(
        reference=reference,
        dice={name: fit.regressions for name, fit in fits.items()},
        volume={name: intervals for name in names if (intervals := fit_volume_intervals(examples, name))},
        level=round(level, 4),
        thresholds=_thresholds(_of_good(odd, good), level),
        evidence=Evidence(
            cases=len(examples),
            patients=len({example.patient for example in examples}),
            good=sum(good.values()),
            flagged_good=flagged[0] or 0.0,
            flagged_bad=flagged[1],
            correlation={name: fit.correlation for name, fit in fits.items() if fit.correlation is not None},
            error={name: fit.error for name, fit in fits.items()},
            coverage={name: fit.coverage for name, fit in fits.items() if fit.coverage is not None},
        ),
    )


class _DiceFit(NamedTuple):
    """Regressions of a structure's Dice, and how reliable they were.

    Attributes:
        regressions: the better informed one first.
        unseen: {case: Dice that a fit without its fold predicts}.
        correlation: of predicted and true Dice; None where one of both is constant.
        error: mean absolute error.
        coverage: share of true Dice within the interval; None where there is no interval.
    """

    regressions: list[Regression]
    unseen: dict[str, float]
    correlation: float | None
    error: float
    coverage: float | None


def _fit_dice(examples: Sequence[Example], name: str, odd: Mapping[str, Oddness]) -> _DiceFit | None:
    """Fit the regressions of a structure's Dice; None where too few cases have it."""
    scored = [example for example in examples if _has_score(example, name)]
    rows = [figures_of(example.measures, odd[example.case], name) for example in scored]
    dice = [float(example.dice[name] or 0.0) for example in scored]
    folds = [example.group for example in scored]
    fitted, unseen = fit_regressions(rows, dice, folds)
    if not fitted:
        return None
    residuals = [truth - float(predicted) for truth, predicted in zip(dice, unseen, strict=True)]
    varies = np.std(dice) > 0 and np.std(unseen) > 0
    share = coverage(residuals, folds)
    return _DiceFit(
        fitted,
        {example.case: float(predicted) for example, predicted in zip(scored, unseen, strict=True)},
        rounded([np.corrcoef(dice, unseen)[0, 1]], 4)[0] if varies else None,
        rounded(np.abs(residuals).mean(keepdims=True), 4)[0],
        None if share is None else round(share, 4),
    )


def _has_score(example: Example, name: str) -> bool:
    """Return whether a case has a Dice of a structure that its answer has any of."""
    return example.dice.get(name) is not None and example.measures.shapes[name].parts > 0


def _odd_unseen(
    examples: Sequence[Example], names: Sequence[str], groups: Sequence[str], reference: Reference
) -> tuple[dict[str, Oddness], dict[str, bool]]:
    """Return how odd each case is compared with the cases of the other folds.

    Returns:
        {case: how odd it is}, and {case: whether it carries a flag that has no threshold: `missing` or `sides`}.
    """
    odd: dict[str, Oddness] = {}
    misplaced: dict[str, bool] = {}
    deep = deep_oddness(examples, reference)
    for group in groups:
        without = fit_reference([example for example in examples if example.group != group], names)
        # each fold has channels of its own, of which others say nothing: `deep_oddness` compares within a fold
        without = without.model_copy(update={"deep": None})
        for example in examples:
            if example.group == group:
                odd[example.case] = without.oddness(example.measures)
                misplaced[example.case] = bool(without.missing(example.measures) or without.swapped(example.measures))
                if example.case in deep:
                    odd[example.case]["features", ""] = deep[example.case]
    return odd, misplaced


def _good(examples: Sequence[Example], names: Sequence[str]) -> dict[str, bool]:
    """Return {case: whether its answer counts as good}."""
    least = {}
    for name in names:
        values = [value for example in examples if (value := example.dice.get(name)) is not None]
        # where most answers are below that Dice, half of them count as good: thresholds need some
        least[name] = min(GOOD_DICE, float(np.median(values))) if values else 0.0
    return {
        example.case: all(value >= least[name] for name in names if (value := example.dice.get(name)) is not None)
        for example in examples
    }


def _left_out(patients: Mapping[str, str]) -> list[set[str]]:
    """Return cases in parts that are left out together, so that no patient is in two.

    Args:
        patients: {case: patient}.
    """
    order = sorted({*patients.values()})
    count = min(_LEFT_OUT, len(order))
    part_of = {patient: number % count for number, patient in enumerate(order)}
    return [{case for case, patient in patients.items() if part_of[patient] == part} for part in range(count)]


def _choose_level(
    odd: Mapping[str, Oddness], misplaced: Mapping[str, bool], good: Mapping[str, bool], parts: Sequence[set[str]]
) -> float:
    """Return the largest level at which all flags together name few enough good answers of patients left out.

    Where flags without a threshold take more than half of the good answers that may be named, the others keep half:
    else structures that a few patients lack would silence all flags.
    """
    cases = [*_of_good(odd, good)]
    allowed = max(FALSE_ALARMS - float(np.mean([misplaced[case] for case in cases])), FALSE_ALARMS / 2)

    def few_enough(level: float) -> bool:
        raised = _raised_unseen(odd, good, parts, level)
        return bool(np.mean([not misplaced[case] and raised[case] for case in cases]) <= allowed)

    # the lower the level, the higher each threshold, and the fewer flags
    return _LEVELS[min(bisect_left(_LEVELS, True, key=few_enough), len(_LEVELS) - 1)]


def _of_good(odd: Mapping[str, Oddness], good: Mapping[str, bool]) -> dict[str, Oddness]:
    """Return how odd good answers are; all where none is good: thresholds then name the oddest of them."""
    return {case: values for case, values in odd.items() if good[case]} or {**odd}


def _raised_unseen(
    odd: Mapping[str, Oddness], good: Mapping[str, bool], parts: Sequence[set[str]], level: float
) -> dict[str, bool]:
    """Return {case: whether thresholds that were taken without its patient, at a level, raise a flag}."""
    of_good = _of_good(odd, good)
    raised: dict[str, bool] = {}
    for part in parts:
        others = {case: values for case, values in of_good.items() if case not in part} or of_good  # a single patient
        thresholds = _thresholds(others, level)
        raised |= {case: _raised(odd[case], thresholds) for case in part}
    return raised


def _thresholds(of_good: Mapping[str, Oddness], level: float) -> dict[str, dict[str, float]]:
    values: dict[tuple[str, str], list[float]] = {}
    for odd in of_good.values():
        for key, value in odd.items():
            values.setdefault(key, []).append(value)
    thresholds: dict[str, dict[str, float]] = {}
    for (kind, name), known in sorted(values.items()):
        # what is nearer to the usual than to its mirror image (below 0) is never odd
        limit = max(0.0, tail_quantile(known, level * (_DICE_SHARE if kind == DICE else 1)))
        thresholds.setdefault(kind, {})[name] = rounded([limit], 6)[0]
    return thresholds


def tail_quantile(values: Sequence[float], share: float) -> float:
    """Return an estimate, from some cases, of the value that a given share of all cases exceeds.

    Of a hundred cases none may be as odd as one in a thousand. So it is the larger of the quantile, and of what an
    exponential tail through median and 90 % quantile gives: median + (q90 - median) ln(0.5 / share) / ln 5.

    Args:
        values: of the cases that there are.
        share: which share is to exceed it, more than 0.

    >>> tail_quantile([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 0.02)
    13.0
    """
    array = np.asarray(values, np.float64)
    middle, high, quantile = np.quantile(array, [0.5, 0.9, 1 - share])
    return round(float(max(quantile, middle + (high - middle) * np.log(0.5 / share) / np.log(5))), 9)


def _raised(odd: Oddness, thresholds: Mapping[str, Mapping[str, float]]) -> bool:
    # thresholds are kept in six digits: what a case has itself set must not exceed it by rounding
    return any(value > thresholds.get(kind, {}).get(name, np.inf) * (1 + 1e-5) for (kind, name), value in odd.items())
