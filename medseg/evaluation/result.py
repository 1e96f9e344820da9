"""The result of an evaluation: scores of one folder of predictions, in subgroups, and compared with another folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.labels import Labels
from medseg.core.wording import counted, summary_line
from medseg.evaluation.comparison import Comparisons
from medseg.evaluation.summary import StructureSummary, Summary

Subgroups = dict[str, dict[str, dict[str, StructureSummary]]]
"""{attribute: {value: {structure: summary}}}."""


@dataclass(frozen=True)
class Evaluation:
    """The result of `medseg evaluate`.

    Attributes:
        summary: every score, and the cases that have none.
        labels: the structures that were scored.
        labels_from: where the structures were declared, in words.
        files: the files that were written.
        subgroups: the scores in the subgroups that were asked for.
        other: the summary of the other predictions, where two folders are compared.
        comparison: differences, these predictions minus the others.
        similar: {prediction: reference} of the files whose names are only similar, which the user asked to pair.
    """

    summary: Summary
    labels: Labels
    labels_from: str
    files: tuple[Path, ...] = ()
    subgroups: Subgroups = field(default_factory=dict)
    other: Summary | None = None
    comparison: Comparisons = field(default_factory=dict)
    similar: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        dice = self.summary.dice_mean
        scores = [] if dice is None else [f"mean Dice {dice:.4f}"]
        return summary_line(self, counted(len(self.summary.cases), "case"), *scores, failed=self.failed)

    @property
    def failed(self) -> dict[str, str]:
        """{case: why it has no score}; where there are any, the command ends with exit code 1."""
        return self.summary.failed

    @property
    def not_compared(self) -> dict[str, str]:
        """{case that has a score: why the other predictions have no score of it}."""
        if self.other is None:
            return {}
        reasons = dict.fromkeys(self.other.without_prediction, "there is no prediction of this name")
        reasons |= self.other.failed
        return {case.case: reasons[case.case] for case in self.summary.cases if case.case in reasons}
