"""Measures that are added from Python: functions of two masks, in one table.

`register_measure` makes one available; a plan asks for it by name in `scoring.extra_measures`, and then the validation
of a run and `medseg.evaluate` compute it beside the built-in ones. A measure that ships with medseg is one function in
a module of its own, and one call of `register_measure` at the end of this module.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError, PlanError
from medseg.evaluation.score import MEASURES, Measure

_BUILT_IN = frozenset(MEASURES)
_OTHER_COLUMNS = frozenset(
    ("case", "patient", "structure", "tp", "fp", "fn", "tn", "volume_unit", "empty", "failed", "empty_policy")
)
"""Names that metrics.csv has beside the figures."""


@dataclass(frozen=True)
class MaskContext:
    """What a measure may want to know beside the two masks.

    Attributes:
        structure: its name.
        image_shape_zyx: voxels of the whole image; the masks are cut to the box around the structure on both sides.
        spacing_known: False where the files say no spacing: `spacing_mm` is then in pixels.
        tolerance_mm: the tolerance that the plan gives this structure (`scoring.nsd_tolerance_mm`, else 2 mm).
    """

    structure: str
    image_shape_zyx: tuple[int, ...]
    spacing_known: bool
    tolerance_mm: float


class MeasureFunction(Protocol):
    """A measure of one structure in one case; it is called with keyword arguments, from several threads at once."""

    def __call__(
        self,
        *,
        prediction: NDArray[np.bool_],
        reference: NDArray[np.bool_],
        spacing_mm: tuple[float, ...],
        context: MaskContext,
    ) -> float | Mapping[str, float | None] | None:
        """Measure a structure.

        Args:
            prediction: (z, y, x), where the prediction has the structure; a 2D image has one slice. Voxels that the
                reference ignores are False in both masks.
            reference: (z, y, x), where the reference has it; the same shape.
            spacing_mm: distance of voxels along (z, y, x), in mm; in pixels where it is unknown.
            context: anything else that is known.

        Returns:
            The figure, or {figure: value} where the measure has several; None, NaN and infinity mean "not defined".
        """


@dataclass(frozen=True)
class ExtraMeasure:
    """A measure that is computed from two masks if a plan asks for it.

    Attributes:
        function: computes its figures.
        figures: {name: meaning} of each figure that it gives.
    """

    function: MeasureFunction
    figures: Mapping[str, Measure]

    def figures_of(
        self,
        prediction: NDArray[np.bool_],
        reference: NDArray[np.bool_],
        spacing_mm: tuple[float, ...],
        context: MaskContext,
    ) -> dict[str, float | None]:
        """Compute the figures of a structure; the function is not called where a missing structure decides them.

        Args:
            prediction: (z, y, x) mask.
            reference: (z, y, x) mask of the same shape.
            spacing_mm: distance of voxels along (z, y, x).
            context: what else the function is told.

        Returns:
            {figure: value}; None where one is not defined.

        Raises:
            DataError: the function failed, or did not answer the figures that it was registered with.
        """
        both_present = bool(prediction.any() and reference.any())
        defined = [n for n, measure in self.figures.items() if both_present or measure.where_empty == "computed"]
        figures: dict[str, float | None] = dict.fromkeys(self.figures)
        if not defined:
            return figures
        try:
            answer = self.function(prediction=prediction, reference=reference, spacing_mm=spacing_mm, context=context)
            if not isinstance(answer, Mapping):
                answer = dict.fromkeys(list(self.figures)[:1], answer)
            if answer.keys() != self.figures.keys():
                raise ValueError(f"it returned {', '.join(answer)}; expected {', '.join(self.figures)}")
            for name in defined:
                value = answer[name]
                figures[name] = float(value) if value is not None and isfinite(value) else None
        except Exception as error:  # foreign code: its case is named as failed, and the other cases go on
            raise DataError(
                f"The measure of {', '.join(self.figures)} failed on {context.structure}: "
                f"{type(error).__name__}: {error}.",
                "It was added by register_measure: correct its function, or remove it from scoring.extra_measures.",
            ) from error
        return figures


EXTRA_MEASURES: dict[str, ExtraMeasure] = {}
"""Measures by the name that a plan's `scoring.extra_measures` asks for; see `register_measure`."""


def register_measure(name: str, function: MeasureFunction, figures: Measure | Mapping[str, Measure]) -> None:
    """Make a measure available to plans and evaluations of this process.

    It is computed where `scoring.extra_measures` of a plan, or of `EvaluateOptions.scoring`, names it, and appears in
    metrics.json, metrics.csv and the report. A name that was registered before is replaced.

    Args:
        name: what a plan calls it; of lower-case letters, digits and underscores.
        function: computes it from two masks; see `MeasureFunction`.
        figures: what its figure means, or {figure: meaning} where the function answers several.

    Raises:
        PlanError: a name is not valid or already taken, or the function lacks a parameter.
    """
    table = {name: figures} if isinstance(figures, Measure) else dict(figures)
    replaced = EXTRA_MEASURES[name].figures if name in EXTRA_MEASURES else {}
    for word in (name, *table):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
            raise PlanError(f"{word!r} cannot name a measure.", "Use lower-case letters, digits and underscores.")
    if not table:
        raise PlanError(f"The measure {name!r} has no figure.", "Describe at least one with Measure(...).")
    existing = {name, *table} & (_BUILT_IN | _OTHER_COLUMNS)
    existing |= (table.keys() & MEASURES.keys()) - replaced.keys()
    if existing:
        raise PlanError(
            f"There is a figure or column {min(existing)!r} already.", "Choose another name for the measure."
        )
    try:
        inspect.signature(function).bind(prediction=None, reference=None, spacing_mm=None, context=None)
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"The function of the measure {name!r} cannot be called: {error}.",
            "Its parameters have to be prediction, reference, spacing_mm and context.",
        ) from None
    for word in replaced:
        del MEASURES[word]
    EXTRA_MEASURES[name] = ExtraMeasure(function, table)
    MEASURES.update({word: replace(measure, source="") for word, measure in table.items()})


def check_registered(names: Iterable[str]) -> None:
    """Refuse measures that this process does not know.

    Raises:
        PlanError: one of `names` was not registered.
    """
    for name in names:
        if name not in EXTRA_MEASURES:
            raise PlanError(
                f"scoring.extra_measures names {name!r}, which is not registered; registered are "
                f"{', '.join(EXTRA_MEASURES) or 'none'}.",
                "Call medseg.register_measure before, in this process, or remove the name.",
            )
