"""Findings: what the check of a data set says about a case, in words, with a kind that programs can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from medseg.core.case import Case
from medseg.core.errors import MedsegError

Severity = Literal["error", "warning"]

ERRORS: Mapping[str, str] = MappingProxyType(
    {
        "unreadable": "files that cannot be read",
        "truncated": "files that end too early",
        "no data": "headers without data",
        "not finite": "NaN or infinity",
        "empty image": "images of one value",
        "other channels": "another number of channels",
        "channel grid": "channels on different grids",
        "label grid": "labels on another grid",
        "unknown label": "label values that nothing declares",
        "soft label": "labels that are soft, not whole numbers",
        "lossy label": "labels stored with loss",
        "colour label": "labels in colours without a meaning",
        "label channels": "labels of several channels",
        "overlap": "structures that overlap",
        "dicom geometry": "DICOM series that are not a regular volume",
        "missing image": "labels without an image",
        "missing label": "images without a label",
        "missing channel": "cases without all channels",
        "ambiguous": "cases that the folder leaves open",
        "units": "voxels of unknown size among known ones",
    }
)
"""Kind of each finding that leaves a case out -> its heading in reports."""

WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "empty label": "labels that mark nothing",
        "ignored label": "labels that hold only the ignore value",
        "missing structure": "structures that nearly all other cases have",
        "unused structure": "structures that no case has",
        "sides": "left and right exchanged",
        "rare label": "label values that hardly any case has",
        "full label": "labels that cover nearly everything",
        "label outside": "labels where the image is empty",
        "own label": "labels in the place of their scans",
        "duplicate image": "one image under two names",
        "duplicate label": "one label for different images",
        "two folders": "scans that lie in another folder too",
        "grouped names": "names that look like several cases of a patient",
        "empty channel": "channels of one value",
        "spacing": "spacings far from the rest",
        "shape": "sizes far from the rest",
        "few voxels": "cases of a few voxels on the planned grid",
        "lost structure": "structures smaller or thinner than a voxel of the planned grid",
        "intensity": "intensities far from the rest",
        "saturation": "intensities cut off at the top",
        "orientation": "axes stored in different orders",
        "two affines": "headers with two geometries",
        "nan outside": "NaN around the scan",
        "odd header": "headers that leave doubt",
    }
)
"""Kind of each finding that keeps a case -> its heading in reports."""

KINDS: Mapping[str, str] = MappingProxyType({**ERRORS, **WARNINGS})
"""Every kind -> its heading, in the order of reports."""

_DEFAULT_REMEDY = "Repair the file, or leave the case out with --exclude IDS.txt."


@dataclass(frozen=True)
class Finding:
    """A problem of a case, or of the data set.

    Attributes:
        kind: one of `KINDS`, which decides the severity.
        case: id of the case; empty if the finding concerns the data set as a whole.
        message: what was seen and what was expected.
        remedy: what to do about it.
        file: the file at fault; None if there is not exactly one.
    """

    kind: str
    case: str
    message: str
    remedy: str
    file: Path | None = None

    @property
    def severity(self) -> Severity:
        """`error` if the case is left out, `warning` if it is kept."""
        return "error" if self.kind in ERRORS else "warning"

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}"


def finding_of(error: MedsegError, case: Case) -> Finding:
    """Return an error that reading a case raised as a finding, on the file that its message names last."""
    kind = error.kind if error.kind in KINDS else "unreadable"
    return Finding(str(kind), case.id, error.message, error.hint or _DEFAULT_REMEDY, file_named(error.message, case))


def file_named(message: str, case: Case) -> Path | None:
    """Return the file of a case that a message names last; None if it names none."""
    files = [*case.channels, *([case.label] if case.label is not None else [])]
    # at the same position the longest name counts: a name may be the start of another one
    positions = [(message.rfind(str(file)), len(str(file)), file) for file in files if str(file) in message]
    return max(positions)[2] if positions else None


def errors_by_case(findings: list[Finding]) -> dict[str, str]:
    """Return id of each case that is left out -> the first reason for it."""
    reasons: dict[str, str] = {}
    for finding in findings:
        if finding.severity == "error":
            reasons.setdefault(finding.case, str(finding))
    return reasons


def in_order(findings: list[Finding]) -> list[Finding]:
    """Return findings in the order of reports: by kind as in `KINDS` (errors first), then by case."""
    position = {kind: index for index, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: (position[finding.kind], finding.case))
