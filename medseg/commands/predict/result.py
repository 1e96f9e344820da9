"""The result of `predict`: answers, volumes, and failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.core.wording import counted, summary_line
from medseg.delivery.answers.judge import assessment_in, doubts

if TYPE_CHECKING:
    from medseg.commands.predict.passed_over import PassedOver
    from medseg.confidence.assessment import Assessment
    from medseg.core.case import Case
    from medseg.delivery.answers.answer import Outcome


@dataclass(frozen=True)
class PredictResult:
    """The result of a prediction.

    Attributes:
        files: {case: label file}.
        volumes: {case: {structure: volume}}, in the unit of `units[case]`.
        units: {case: "ml", "mm2" for pictures, or "pixels"}.
        failed: {case: why it has no answer}.
        kept: those of `files` that an earlier run had finished.
        notes: what a user should know of how it was done, in sentences.
        warnings: {case: how its scan differs from those that the model was trained on, in sentences}.
        scans: {case: the file of its first channel}.
        quality: {case: predicted Dice, intervals and flags}; of models with a selection that can judge answers.
        facts: {case: {column: text}} of the table that was given, for the tables of volumes.
        passed_over: scans of the folder that could be read and were not answered, as they do not lie where the others
            do.
        page: the contact sheet of the answers; None where there is none.
        frame: which volume of time series was segmented, from 0; None where nothing says it.
    """

    files: dict[str, Path]
    volumes: dict[str, dict[str, float]]
    units: dict[str, str]
    failed: dict[str, str]
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    quality: dict[str, Assessment] = field(default_factory=dict)
    scans: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    page: Path | None = None
    frame: int | None = None

    def __repr__(self) -> str:
        return summary_line(
            self,
            counted(len(self.files), "label map"),
            *([f"{len(self.warnings)} with warnings"] if self.warnings else []),
            *([f"{len(self.flagged)} flagged"] if self.flagged else []),
            *([f"{self.scans_passed_over} passed over"] if self.passed_over else []),
            failed=self.failed,
        )

    @property
    def flagged(self) -> list[str]:
        """The cases whose answers carry a quality flag."""
        return [case for case, assessment in self.quality.items() if assessment.flags]

    @property
    def scans_passed_over(self) -> int:
        """How many scans were passed over."""
        return sum(entry.scans for entry in self.passed_over)

    def doubts(self, case: str) -> list[str]:
        """Return the warnings on the scan of a case, then the flags of its answer, in sentences."""
        return doubts(self.warnings.get(case, ()), self.quality.get(case))

    @classmethod
    def of(
        cls,
        cases: Sequence[Case],
        outcomes: Sequence[Outcome],
        failed: dict[str, str],
        kept: tuple[str, ...],
        notes: tuple[str, ...],
        frame: int | None = None,
    ) -> PredictResult:
        """Put outcomes in the order of the cases.

        Args:
            cases: the cases that were segmented.
            outcomes: one per case, in any order.
            failed: {case: why} of cases that have no outcome.
            kept: cases that an earlier run had finished.
            notes: what a user should know.
            frame: which volume of time series was segmented.

        Returns:
            The result of the prediction.
        """
        outcome_of = {outcome.case.id: outcome for outcome in outcomes}
        ordered = {case.id: outcome_of[case.id] for case in cases}
        answered = {case: outcome for case, outcome in ordered.items() if outcome.problem is None}
        problems = {case: outcome.problem for case, outcome in ordered.items() if outcome.problem is not None}
        return cls(
            {case: outcome.files[0] for case, outcome in answered.items()},
            {case: outcome.volumes or {} for case, outcome in answered.items()},
            {case: outcome.unit for case, outcome in answered.items()},
            problems | failed,
            kept,
            notes,
            {case: texts for case, o in answered.items() if (texts := tuple(o.about.get("warnings", ())))},
            {case: assessment for case, o in answered.items() if (assessment := assessment_in(o.about)) is not None},
            {case: outcome.case.channels[0] for case, outcome in answered.items()},
            frame=frame,
        )
