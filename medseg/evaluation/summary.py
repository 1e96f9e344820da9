"""Summarize the scores of a set of cases: per case, per structure and overall. `tables` writes them to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.evaluation.empties import POLICIES, EmptyPolicy
from medseg.evaluation.overlap import Overlap
from medseg.evaluation.pooled import Pooled, pool
from medseg.evaluation.score import MEASURES, StructureScore
from medseg.evaluation.statistics import Distribution, describe, interval_of_mean, mean_defined


@dataclass(frozen=True)
class CaseScore:
    """The scores of one case.

    Attributes:
        case: its id.
        structures: the score of each structure that was annotated.
        spacing_known: whether volumes are in ml and distances in mm; else they are in voxels and pixels.
        patient: id of the patient; empty where the case is a patient of its own.
        policy: what a score is where a structure is empty.
        attributes: other facts from a table of cases (site, scanner, sex).
        prediction: the label file of the prediction; empty where there is none, as in the validation of a training.
        reference: the label file of the reference, likewise.
        notes: what was odd about these files when they were read, in sentences.
    """

    case: str
    structures: dict[str, StructureScore]
    spacing_known: bool = True
    patient: str = ""
    policy: EmptyPolicy = POLICIES["default"]
    attributes: dict[str, str] = field(default_factory=dict)
    prediction: str = ""
    reference: str = ""
    notes: tuple[str, ...] = ()

    @property
    def patient_or_case(self) -> str:
        """The patient; the case itself where it is a patient of its own."""
        return self.patient or self.case

    @property
    def volume_unit(self) -> str:
        """Millilitres, or pixels where the spacing is unknown."""
        return "ml" if self.spacing_known else "pixels"

    @cached_property
    def figures(self) -> dict[str, dict[str, float | None]]:
        """{structure: {measure: value}}; None where a measure is not defined."""
        return {name: score.figures(self.policy) for name, score in self.structures.items()}

    @property
    def overlaps(self) -> dict[str, Overlap]:
        """{structure: counts of voxels}."""
        return {name: score.overlap for name, score in self.structures.items()}

    @property
    def dice_mean(self) -> float | None:
        """Mean Dice over the structures where it is defined; None where there are none."""
        return mean_defined(figures["dice"] for figures in self.figures.values())


@dataclass(frozen=True)
class StructureSummary:
    """One structure over the cases in which it was annotated.

    Attributes:
        n_annotated: cases in which it was annotated.
        n_both_empty: cases where neither reference nor prediction has the structure.
        n_reference_empty: cases where only the prediction has it.
        n_prediction_empty: cases where only the reference has it.
        figures: {measure: its distribution over the cases in which it is defined}. Measures with a unit are left
            out where the units of the cases differ.
        volume_unit: "ml" or "pixels"; "mixed" where the cases differ, empty where there are none.
    """

    n_annotated: int
    n_both_empty: int
    n_reference_empty: int
    n_prediction_empty: int
    figures: dict[str, Distribution]
    volume_unit: str

    @property
    def n(self) -> int:
        """Number of cases in the mean Dice."""
        return self.figures["dice"].n

    @property
    def dice_mean(self) -> float | None:
        """Mean Dice over the cases in which it is defined."""
        return self.figures["dice"].mean


@dataclass(frozen=True)
class Overall:
    """A measure over all structures.

    Attributes:
        mean: mean over the structures of each structure's mean over cases.
        low: lower bound of its interval (`statistics.METHOD`); None with fewer than three patients.
        high: upper bound, likewise.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Summary:
    """The scores of a set of cases.

    Attributes:
        cases: the scores of each case.
        structures: the summary of each structure, in the order of `Labels.names`.
        overall: {measure: over all structures}, without the background; structures without any score are left out
            (nnU-Net's foreground_mean is NaN then).
        pooled: scores of the voxels of all fully annotated cases together: IoU of each class, and pixel accuracy.
        miou_cases: fully annotated cases that `pooled` and `confusion` are made of.
        confusion: (values, values) voxels, reference by prediction, in the order of `Labels.values`.
        policy: what a score is where a structure is empty.
        rules: sentences on the rules of the measures.
        failed: {case: why it has no score}.
        without_prediction: references whose prediction was allowed to be missing.
        without_reference: predictions without a reference.
    """

    cases: tuple[CaseScore, ...]
    structures: dict[str, StructureSummary]
    overall: dict[str, Overall]
    pooled: Pooled
    miou_cases: int
    confusion: NDArray[np.int64]
    policy: EmptyPolicy = POLICIES["default"]
    rules: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()

    @property
    def dice_mean(self) -> float | None:
        """Mean Dice over cases, then structures."""
        return self.overall["dice"].mean

    @property
    def worst_first(self) -> list[CaseScore]:
        """The cases from the lowest mean Dice to the highest; those without any last."""
        return sorted(self.cases, key=lambda case: (case.dice_mean is None, case.dice_mean or 0.0, case.case))

    @property
    def notes(self) -> list[str]:
        """What was odd about label files when they were read, each sentence with its case in front."""
        return [f"{case.case}: {note}" for case in self.cases for note in case.notes]

    @property
    def miou(self) -> float | None:
        """Mean IoU of pooled voxels (`Pooled.miou`)."""
        return self.pooled.miou

    @property
    def measures(self) -> list[str]:
        """The measures that were taken, in the order of `MEASURES`."""
        taken = {name for structure in self.structures.values() for name in structure.figures}
        return [name for name in MEASURES if name in taken]


@dataclass(frozen=True)
class Unscored:
    """The cases without a score.

    Attributes:
        failed: {case: why it has no score}.
        without_prediction: references whose prediction was allowed to be missing.
        without_reference: predictions without a reference.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    without_prediction: Iterable[str] = ()
    without_reference: Iterable[str] = ()


def summarize(
    labels: Labels,
    cases: Sequence[CaseScore],
    confusion: NDArray[np.int64],
    unscored: Unscored | None = None,
    policy: EmptyPolicy = POLICIES["default"],
    rules: Sequence[str] = (),
) -> Summary:
    """Summarize the scores of a set of cases.

    Args:
        labels: the structures.
        cases: the scores of each case, all under `policy`.
        confusion: (values, values) voxels, summed over the cases in which every structure was annotated.
        unscored: cases without a score.
        policy: what a score is where a structure is empty.
        rules: sentences on the rules of the measures.

    Returns:
        The scores of each case, of each structure, and overall.
    """
    unscored = unscored or Unscored()
    structures = {name: summarize_structure(name, cases) for name in labels.names}
    return Summary(
        cases=tuple(cases),
        structures=structures,
        overall=_overall(structures, cases),
        pooled=pool(labels, confusion),
        miou_cases=sum(len(case.structures) == len(structures) for case in cases),
        confusion=confusion,
        policy=policy,
        rules=tuple(rules),
        failed=dict(unscored.failed),
        without_prediction=tuple(unscored.without_prediction),
        without_reference=tuple(unscored.without_reference),
    )


def summarize_structure(name: str, cases: Sequence[CaseScore]) -> StructureSummary:
    """Summarize one structure over the cases in which it was annotated.

    Args:
        name: the structure.
        cases: scores of all cases.

    Returns:
        How many cases have the structure, and the distribution of each of its measures.
    """
    annotated = [case for case in cases if name in case.structures]
    empty = [case.structures[name].empty for case in annotated]
    units = {case.volume_unit for case in annotated}
    groups = [case.patient_or_case for case in annotated]
    measured = [measure for measure in MEASURES if any(measure in case.figures[name] for case in annotated)]
    # Millimetres and pixels have no common mean.
    comparable = [measure for measure in measured if len(units) == 1 or not MEASURES[measure].unit]
    figures = {
        measure: describe([case.figures[name].get(measure) for case in annotated], groups) for measure in comparable
    }
    return StructureSummary(
        n_annotated=len(annotated),
        n_both_empty=empty.count("both"),
        n_reference_empty=empty.count("reference"),
        n_prediction_empty=empty.count("prediction"),
        figures=figures or {"dice": Distribution(0, 0), "iou": Distribution(0, 0)},
        volume_unit=units.pop() if len(units) == 1 else "mixed" if units else "",
    )


def _overall(structures: Mapping[str, StructureSummary], cases: Sequence[CaseScore]) -> dict[str, Overall]:
    """Return each measure over all structures; those with a unit only where all cases have the same unit."""
    measured = {measure for structure in structures.values() for measure in structure.figures}
    groups = np.array([case.patient_or_case for case in cases], dtype=str)
    overall = {}
    for measure in (name for name in MEASURES if name in measured):
        having = {name: structure for name, structure in structures.items() if measure in structure.figures}
        mean = mean_defined(structure.figures[measure].mean for structure in having.values())
        rows = [[case.figures.get(name, {}).get(measure) for name in having] for case in cases]
        figures = np.array(rows, dtype=np.float64).reshape(len(cases), len(having))  # None becomes NaN
        scored = np.isfinite(figures).any(axis=1)
        interval = interval_of_mean(figures[scored], groups[scored]) or (None, None)
        overall[measure] = Overall(mean, *interval)
    return overall
