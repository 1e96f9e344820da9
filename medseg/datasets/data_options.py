"""What may be said about a data set, by every verb that looks at one: where its files lie and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.core.errors import PlanError


@dataclass(frozen=True)
class DataOptions:
    """What may be said about a data set.

    Attributes:
        images: one entry a channel, patterns (`*_flair.nii.gz`) or names of files (`flair`).
        labels: likewise for the label files.
        cases: a CSV that lists the files of each case, or says more of cases that are found without it.
        patient_pattern: regular expression that finds the patient in a case's id.
        exclude: text file of case ids to leave out, one a line.
        structures: `name=value` strings, where the data set does not declare them.
        ignore: value of voxels without annotation.
        activation: `softmax` or `sigmoid`; None for what the structures ask for.
        threshold: soft masks are the structure, as value 1, where they are at least this large.
        map: `value=value` or `low-high=value` strings, for values in label files that mean others.
        colours: `name=#rrggbb` strings, or one path of a table, for masks in colours.
        frame: which point in time of a time series is the scan.
        resample_labels: bring label maps on another grid to that of their scan.
        annotated_from_values: a structure that a case's label file does not hold was not annotated there.
        segments: `name=pattern` strings, or names, for the structures in RTSTRUCT and DICOM SEG.
        overlaps: where these overlap: `refuse`, `later` (of `segments`) or `regions`; None for refuse.
        series: of DICOM studies, one rule, or `CHANNEL:RULE` for each channel.
        resample_tilt: read DICOM series with a gantry tilt, resampled.
        allow_gaps: read DICOM series with missing slices, interpolated.
    """

    images: Sequence[str] = ()
    labels: str | None = None
    cases: Path | None = None
    patient_pattern: str | None = None
    exclude: Path | None = None
    structures: Sequence[str] = ()
    ignore: int | None = None
    activation: str | None = None
    threshold: float | None = None
    map: Sequence[str] = ()
    colours: Sequence[str] = ()
    frame: int | None = None
    resample_labels: bool = False
    annotated_from_values: bool = False
    segments: Sequence[str] = ()
    overlaps: str | None = None
    series: Sequence[str] = ()
    resample_tilt: bool = False
    allow_gaps: bool = False

    def asked(self) -> dict[str, Any]:
        """What was said, as the plan records it; the patient pattern has a place of its own there."""
        said = {name: value for name, value in vars(self).items() if value != getattr(NOTHING_SAID, name)}
        plain = {name: value.name if isinstance(value, Path) else value for name, value in said.items()}
        return {
            name: list(value) if isinstance(value, (list, tuple)) else value
            for name, value in plain.items()
            if name != "patient_pattern" and value not in ((), [])
        }


NOTHING_SAID = DataOptions()


def split_pair(text: str, example: str) -> tuple[str, str]:
    """`NAME=VALUE` as its two parts.

    Raises:
        PlanError: it is not of this form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise PlanError(f"{text!r} is not of the form NAME=VALUE.", f"Example: {example}")
    return name.strip(), value.strip()
