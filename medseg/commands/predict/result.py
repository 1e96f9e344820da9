"""What came of a prediction: answers, volumes, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from csv import writer
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from medseg.core.case import Case
from medseg.delivery.answers.answer import Outcome


@dataclass(frozen=True)
class PredictResult:
    """What came of it.

    Attributes:
        files: {case: label file}.
        volumes: {case: {structure: volume}}, in the unit of `units[case]` ("ml" or "pixels").
        failed: {case: why}; these have no answer.
        kept: those of `files` that an earlier run had finished.
        notes: what a user should know of how it was done, in sentences.
    """

    files: dict[str, Path]
    volumes: dict[str, dict[str, float]]
    units: dict[str, str]
    failed: dict[str, str]
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def collect(
    cases: Sequence[Case],
    outcomes: Sequence[Outcome],
    failed: dict[str, str],
    kept: tuple[str, ...],
    notes: tuple[str, ...],
) -> PredictResult:
    """The outcomes in the order of the cases; `failed` are those that had none."""
    found = {outcome.case.id: outcome for outcome in outcomes}
    ordered = [found[case.id] for case in cases]
    done = {outcome.case.id: outcome for outcome in ordered if outcome.problem is None}
    problems = {outcome.case.id: outcome.problem for outcome in ordered if outcome.problem is not None}
    return PredictResult(
        {case: outcome.files[0] for case, outcome in done.items()},
        {case: outcome.volumes or {} for case, outcome in done.items()},
        {case: outcome.unit for case, outcome in done.items()},
        problems | failed,
        kept,
        notes,
    )


def volumes_csv(result: PredictResult) -> str:
    """The volumes as a table: case, structure, volume, unit."""
    text = StringIO()
    rows = writer(text, lineterminator="\n")
    rows.writerow(["case", "structure", "volume", "unit"])
    for case, volumes in result.volumes.items():
        rows.writerows([case, name, f"{volume:.6g}", result.units[case]] for name, volume in volumes.items())
    return text.getvalue()
