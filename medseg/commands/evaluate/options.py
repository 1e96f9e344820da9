"""Options of `medseg evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.plans.sections import Reading


@dataclass(frozen=True)
class EvaluateOptions:
    """What may be asked of an evaluation.

    Attributes:
        output: where to write; the folder of the predictions if None.
        allow_missing: a reference without a prediction is left out, and counted; otherwise that case failed.
        reading: what the values in the references mean; else what `labels.json` says, else what they say themselves.
        scoring: keys of the plan's section `scoring` that replace those of `labels.json`.
        table: CSV with a column `id` (or `case`) and, all optional, `patient`, `annotated` (structures with `;`
            between), and attributes of the cases.
        patient_pattern: regular expression that finds the patient in a case's id.
        by: columns of the table to make subgroups of.
        compare: another folder of predictions, to be compared with.
        annotated: case -> the structures that were annotated there, where not all were.
        segments, overlaps: which names in RTSTRUCT and DICOM SEG are which structure, as for a plan.
    """

    output: Path | None = None
    allow_missing: bool = False
    reading: Reading | None = None
    scoring: Mapping[str, Any] = field(default_factory=dict)
    table: Path | None = None
    patient_pattern: str | None = None
    by: Sequence[str] = ()
    compare: Path | None = None
    annotated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    segments: Sequence[str] = ()
    overlaps: str | None = None
