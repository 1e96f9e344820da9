"""Compare ways to answer the same cases by the one measure that decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.evaluation.empties import POLICIES
from medseg.evaluation.extra_measures import EXTRA_MEASURES
from medseg.evaluation.lesions import LesionRule
from medseg.evaluation.measures import Grid, MeasureOptions, measure_case
from medseg.evaluation.score import MEASURES, StructureScore
from medseg.evaluation.statistics import interval_of_mean
from medseg.plans.sections.scoring import Scoring
from medseg.selection.record import Gain

_RIGHT_WITHOUT = {"overlap": 1.0, "distance": 0.0}
"""What an answer scores that rightly lacks a structure, in a comparison with one that wrongly has it."""


@dataclass(frozen=True)
class Figure:
    """The measure of one structure in one case.

    Attributes:
        value: under the plan's policy for empty structures; None where it is not defined.
        compared: the same, but the best there is where the answer rightly lacks the structure.
        both_empty: whether neither reference nor answer has it: two such answers tell nothing of each other.
    """

    value: float | None
    compared: float | None
    both_empty: bool


Figures = Mapping[str, Figure]
"""{structure: figure} of a case, for those that were annotated."""


class DecidingMeasure:
    """The measure by which models and operations on answers are compared.

    Args:
        scoring: of the plan: it names the measure, and says how it is taken.

    Attributes:
        name: its name in `MEASURES`.

    Raises:
        PlanError: there is no such measure, or neither high nor low values of it are better.
    """

    def __init__(self, scoring: Scoring) -> None:
        self.name = scoring.main_measure
        measure = MEASURES.get(self.name)
        if measure is None or measure.better is None:
            known = ", ".join(name for name, other in MEASURES.items() if other.better is not None)
            raise PlanError(f"scoring.main_measure is {self.name!r}, which decides nothing; expected one of {known}.")
        self._measure, self._policy = measure, POLICIES[scoring.empty_policy]
        part = measure.source.partition(".")[0]
        self._options = MeasureOptions(
            surface=(scoring.surface or "elements") if part == "surface" else None,
            tolerance_mm=scoring.nsd_tolerance_mm,
            lesions=LesionRule() if part == "lesions" else None,
            instances=part == "instances",
            extra=[] if measure.source else [name for name in scoring.extra_measures if name in EXTRA_MEASURES],
            workers=1,
        )

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self._measure.title

    def figures(
        self,
        reference: NDArray[np.int16],
        answer: NDArray[np.int16],
        labels: Labels,
        grid: Grid,
        annotated: Collection[str] | None,
    ) -> Figures:
        """Return the figures of a case.

        Args:
            reference: (z, y, x) label indices as `Labels.encode` makes them.
            answer: likewise.
            labels: the structures.
            grid: the spacing of the voxels.
            annotated: names of the structures that were annotated; None for all.
        """
        scores = measure_case(reference, answer, labels, grid, self._options, annotated).structures
        return {name: self._figure(score) for name, score in scores.items()}

    def _figure(self, score: StructureScore) -> Figure:
        value = score.figures(self._policy).get(self.name)
        both = score.empty == "both"
        right = _RIGHT_WITHOUT.get(self._measure.where_empty) if both else None
        return Figure(value, value if right is None else right, both)

    def better_by(self, value: float, other: float) -> float:
        """Return by how much a value is better than another."""
        if self._measure.better == "high":
            return value - other
        return other - value if self._measure.better == "low" else abs(other) - abs(value)

    def differences(
        self, figures: Sequence[Figures], others: Sequence[Figures], names: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return (cases, structures): by how much the first answer to each case is better; NaN where that is undefined.

        Args:
            figures: of one way to answer, for each case.
            others: of the other way, for the same cases.
            names: the structures.
        """
        rows = [
            [self._difference(case.get(name), other.get(name)) for name in names]
            for case, other in zip(figures, others, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))

    def _difference(self, figure: Figure | None, other: Figure | None) -> float:
        if figure is None or other is None or (figure.both_empty and other.both_empty):
            return np.nan
        if figure.compared is None or other.compared is None:
            return np.nan
        return self.better_by(figure.compared, other.compared)


def gain_of(differences: NDArray[np.float64], patients: Sequence[str], names: Sequence[str]) -> Gain:
    """Return the mean over structures of the mean over cases, with its interval.

    Args:
        differences: (cases, structures), so that more is better; NaN where undefined.
        patients: of the cases.
        names: the structures.
    """
    means = column_means(differences)
    known = {name: None if np.isnan(mean) else _rounded(float(mean)) for name, mean in zip(names, means, strict=True)}
    defined = np.isfinite(differences).any(axis=1)
    interval = interval_of_mean(differences[defined], np.array(patients, dtype=str)[defined])
    low, high = (None, None) if interval is None else map(_rounded, interval)
    return Gain(
        difference=_rounded(float(means[np.isfinite(means)].mean())) if np.isfinite(means).any() else 0.0,
        low=low,
        high=high,
        structures=known,
        cases=len(differences),
    )


def mean_score(
    figures: Sequence[Figures], patients: Sequence[str], names: Sequence[str]
) -> tuple[float | None, tuple[float, float] | None, dict[str, float | None]]:
    """Return the mean over structures of the mean over cases, its interval, and the mean of each structure.

    Args:
        figures: of each case.
        patients: of the cases.
        names: the structures.
    """
    rows = [[case[name].value if name in case else None for name in names] for case in figures]
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    means = column_means(values)
    of_structure = {
        name: None if np.isnan(mean) else _rounded(float(mean)) for name, mean in zip(names, means, strict=True)
    }
    defined = np.isfinite(values).any(axis=1)
    if not defined.any():
        return None, None, of_structure
    interval = interval_of_mean(values[defined], np.array(patients, dtype=str)[defined])
    score = _rounded(fmean(means[np.isfinite(means)].tolist()))
    return score, None if interval is None else (_rounded(interval[0]), _rounded(interval[1])), of_structure


def column_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (columns,) means over the values that are defined; NaN where there are none."""
    defined = np.isfinite(values)
    counts = defined.sum(axis=0)
    sums = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(values.shape[1], np.nan), where=counts > 0)


def _rounded(value: float) -> float:
    """Return a figure as it is kept: to six digits after the point, and never a negative zero."""
    return round(value, 6) + 0.0
