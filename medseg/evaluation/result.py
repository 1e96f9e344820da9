"""The result of an evaluation: scores of one folder of predictions, in subgroups, and compared with other folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.labels import Labels
from medseg.core.wording import counted, summary_line
from medseg.evaluation.comparison import Comparisons, compare_summaries
from medseg.evaluation.summary import StructureSummary, Summary

Subgroups = dict[str, dict[str, dict[str, StructureSummary]]]
"""{attribute: {value: {structure: summary}}}."""


@dataclass(frozen=True)
class Compared:
    """Other predictions of the same cases, and how the scores differ.

    Attributes:
        path: the file or folder of the other predictions.
        summary: their scores.
        differences: these predictions minus the others.
        not_compared: {case that has a score: why the others have none of it}.
    """

    path: Path
    summary: Summary
    differences: Comparisons
    not_compared: dict[str, str]

    @classmethod
    def of(cls, summary: Summary, other: Summary, path: Path) -> Compared:
        """Return the comparison of two summaries of the same cases.

        Args:
            summary: the scores of these predictions.
            other: those of the others.
            path: where the others lie.
        """
        scored = {case.case for case in other.cases}
        ids = [case.case for case in summary.cases if case.case not in scored]
        absent = {id: other.failed.get(id, "there is no prediction of this name") for id in ids}
        return cls(path, other, compare_summaries(summary, other), absent)


@dataclass(frozen=True)
class Evaluation:
    """The result of `medseg evaluate`.

    Attributes:
        summary: every score, and the cases that have none.
        labels: the structures that were scored.
        labels_from: where the structures were declared, in words.
        files: the files that were written.
        subgroups: the scores in the subgroups that were asked for.
        compared: a comparison with each of the other folders that were asked for.
        scans: {case: the file of its first channel}, where scans are known.
        replaced: the files of earlier scores that were replaced.
        similar: {prediction: reference} of the files whose names are only similar, which the user asked to pair.
        notes: what is worth a note about the names of the structures.
    """

    summary: Summary
    labels: Labels
    labels_from: str
    files: tuple[Path, ...] = ()
    subgroups: Subgroups = field(default_factory=dict)
    compared: tuple[Compared, ...] = ()
    similar: dict[str, str] = field(default_factory=dict)
    scans: dict[str, Path] = field(default_factory=dict)
    replaced: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        dice = self.summary.dice_mean
        scores = [] if dice is None else [f"mean Dice {dice:.4f}"]
        return summary_line(self, counted(len(self.summary.cases), "case"), *scores, failed=self.failed)

    @property
    def failed(self) -> dict[str, str]:
        """{case: why it has no score}; where there are any, the command ends with exit code 1."""
        return self.summary.failed

    @property
    def comparison(self) -> Comparisons:
        """Differences, these predictions minus the first of the others; empty where nothing is compared."""
        return self.compared[0].differences if self.compared else {}

    @property
    def not_compared(self) -> dict[str, str]:
        """{case that has a score: why the first of the others has no score of it}."""
        return self.compared[0].not_compared if self.compared else {}
