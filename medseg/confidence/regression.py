"""Predict the Dice of an answer from what is measured of it, by a linear model whose weights cannot be negative.

Every figure is turned so that more of it speaks for the answer. With weights that cannot be negative, a worse figure
never raises the prediction, also far outside of what the model was fitted on: there, answers are bad, and no
out-of-fold case may have been like them. Ridge regression (Hoerl and Kennard 1970), which draws weights not to 0, but
to what figures should mean; how strongly is chosen by leaving folds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log1p
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from medseg.confidence.conformal import residual_bounds
from medseg.confidence.distance import rounded
from medseg.confidence.measures import CaseMeasures
from medseg.confidence.reference import Oddness
from medseg.plans.sections.section import NonNegative, Section, check_lengths

Figures = Mapping[str, float]
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_LEAST_SCALE = 1e-3
_LEAST_WEIGHT = 1e-6
"""What a bound leaves of a weight is rounding below this."""
FEWEST = 12
"""Fewer answers with a score are too few to relate anything to it."""
AGREEMENT, EXPECTED_DICE = "agreement", "expected_dice"
_EXPECTED = {AGREEMENT: 0.5, EXPECTED_DICE: 0.5}
"""What a figure is expected to add to Dice, which weights are drawn to: the figures that are measured like Dice follow
it. Where all out-of-fold answers are alike, these alone say what becomes of a bad one."""


class Regression(Section):
    """A linear model of Dice, and how far it is wrong on cases that it did not see.

    Attributes:
        figures: names of what it looks at.
        mean: of each figure.
        scale: standard deviation of each.
        weights: what a standard deviation of each adds to Dice.
        intercept: Dice where all figures are as their mean.
        low: what has to be added to a prediction for the lower bound of its interval (90 %); None if it was fitted on
            too few answers for one.
        high: the same for the upper bound.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("low", "high")

    figures: Annotated[list[str], Field(min_length=1)]
    mean: list[float]
    scale: list[PositiveFloat]
    weights: list[NonNegative]
    intercept: float
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Regression:
        check_lengths(self, "figures", "mean", "scale", "weights")
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        return self

    def fits(self, figures: Figures) -> bool:
        """Return whether all figures that the regression needs are known."""
        return all(name in figures for name in self.figures)

    def predict(self, figures: Figures) -> float:
        """Return the predicted Dice, from 0 to 1."""
        vector = np.array([figures[name] for name in self.figures])
        standard = (vector - np.array(self.mean)) / np.array(self.scale)
        return float(np.clip(self.intercept + standard @ np.array(self.weights), 0, 1))

    def interval(self, predicted: float) -> tuple[float, float] | None:
        """Return the bounds between which the Dice is expected to lie; None if they are not known."""
        if self.low is None or self.high is None:
            return None
        return float(np.clip(predicted + self.low, 0, 1)), float(np.clip(predicted + self.high, 0, 1))


def figures_of(measures: CaseMeasures, odd: Oddness, name: str) -> dict[str, float]:
    """Return the inputs of the regression for a structure that is in the answer; more of each is better.

    Args:
        measures: of the answer.
        odd: how odd it is (`Reference.oddness`).
        name: the structure.
    """
    sureness, shape = measures.sureness[name], measures.shapes[name]
    figures = {
        # what Dice would be, on average, if voxels were right with their probability
        EXPECTED_DICE: 2 * sureness.overlap / max(sureness.volume + sureness.expected_volume, 1e-9),
        "sharp_border": -sureness.doubt / max(sureness.border, 1e-9),
        "whole": shape.largest_share,
        "uncut": -shape.cut,
    }
    if sureness.agreement is not None:
        figures[AGREEMENT] = sureness.agreement
    # of logarithms: oddness has a long tail, and an answer cannot become much worse than bad
    for kind, figure in (("volume", "usual_volume"), ("intensity", "usual_intensity")):
        if (kind, name) in odd:
            figures[figure] = -log1p(odd[kind, name])
    if ("scan", "") in odd:
        figures["usual_scan"] = -log1p(odd["scan", ""])
    return figures


def fit_regressions(
    rows: Sequence[Figures], dice: Sequence[float], groups: Sequence[str]
) -> tuple[list[Regression], NDArray[np.float64]]:
    """Return regressions for a structure, and the Dice that the first predicts for cases that it did not see.

    Args:
        rows: figures of each answer.
        dice: its Dice.
        groups: its fold.

    Returns:
        The first looks at all figures that all answers have, another one not at the agreement of mirrored copies, for
        predictions without any. None with fewer than twelve answers.
    """
    if len(rows) < FEWEST or len({*groups}) < 2:
        return [], np.full(len(rows), np.nan)
    common = [name for name in rows[0] if all(name in row for row in rows)]
    without = [name for name in common if name != AGREEMENT]
    choices = [common] + ([without] if without and without != common else [])
    fitted = [_fit(rows, names, np.asarray(dice, np.float64), np.asarray(groups)) for names in choices]
    return [regression for regression, _ in fitted], fitted[0][1]


def _fit(
    rows: Sequence[Figures], names: list[str], dice: NDArray[np.float64], groups: NDArray
) -> tuple[Regression, NDArray[np.float64]]:
    """Return a regression, and predictions of fits that leave the fold of each answer out."""
    array = np.array([[row[name] for name in names] for row in rows])
    unseen_of = {strength: _unseen(array, dice, groups, strength, names) for strength in _STRENGTHS}
    # errors of answers that the fit did not see decide how strongly weights are drawn; of equals, the least strongly
    strength = min(_STRENGTHS, key=lambda value: float(np.mean((unseen_of[value] - dice) ** 2)))
    unseen = unseen_of[strength]
    mean, scale, weights, intercept = _ridge(array, dice, strength, names)
    bounds = residual_bounds(dice - unseen)
    low, high = (None, None) if bounds is None else rounded(bounds)
    return Regression(
        figures=names,
        mean=rounded(mean),
        scale=rounded(scale),
        weights=rounded(np.where(weights < _LEAST_WEIGHT, 0, weights)),
        intercept=rounded([intercept])[0],
        low=low,
        high=high,
    ), unseen


def _unseen(
    array: NDArray, dice: NDArray, groups: NDArray, strength: float, names: Sequence[str]
) -> NDArray[np.float64]:
    """Return predictions, those of each fold by a fit on the others."""
    predicted = np.empty(len(dice))
    for group in np.unique(groups):
        inside = groups == group
        mean, scale, weights, intercept = _ridge(array[~inside], dice[~inside], strength, names)
        predicted[inside] = np.clip(intercept + ((array[inside] - mean) / scale) @ weights, 0, 1)
    return predicted


def _ridge(
    array: NDArray, dice: NDArray, strength: float, names: Sequence[str]
) -> tuple[NDArray, NDArray, NDArray, float]:
    """Return mean and scale of the figures, weights and intercept.

    Minimized is |dice - intercept - x w|^2 + strength |w - w_0|^2 with w at least 0, where x are standardized figures
    and w_0 the expectation (`_EXPECTED`).
    """
    from scipy.optimize import lsq_linear

    mean, scale = array.mean(axis=0), np.maximum(array.std(axis=0), _LEAST_SCALE)
    # weights are per standard deviation of a figure, expectations per unit of it
    expected = scale * np.array([_EXPECTED.get(name, 0.0) for name in names])
    middle, root = float(dice.mean()), np.sqrt(strength)
    # the penalty is one more row for each weight, so that both terms are a single least-squares problem with bounds
    left = np.concatenate([(array - mean) / scale, root * np.eye(len(names))])
    right = np.concatenate([dice - middle, root * expected])
    weights = lsq_linear(left, right, bounds=(0, np.inf)).x
    return mean, scale, np.asarray(weights), middle
