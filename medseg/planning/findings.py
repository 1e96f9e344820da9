"""Findings: what a check of a data set has to say about a case, in words and in a kind that programs can tell apart."""

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
        "dicom geometry": "DICOM series that are no regular volume",
        "missing image": "labels without an image",
        "missing label": "images without a label",
        "missing channel": "cases without all channels",
        "ambiguous": "cases that the folder leaves open",
        "units": "voxels of unknown size among known ones",
    }
)
"""Kinds that leave a case out, with a heading."""

WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "empty label": "labels that mark nothing",
        "ignored label": "labels that hold only the ignore value",
        "missing structure": "structures that nearly all other cases have",
        "unused structure": "structures that no case has",
        "rare label": "label values that hardly any case has",
        "full label": "labels that cover nearly everything",
        "label outside": "labels where the image is empty",
        "duplicate image": "one image under two names",
        "duplicate label": "one label for different images",
        "two folders": "scans that lie in another folder too",
        "grouped names": "names that look like several cases of a patient",
        "empty channel": "channels of one value",
        "spacing": "spacings far from the rest",
        "shape": "sizes far from the rest",
        "intensity": "intensities far from the rest",
        "saturation": "intensities cut off at the top",
        "orientation": "axes stored in different orders",
        "two affines": "headers with two geometries",
        "odd header": "headers that leave doubt",
    }
)
"""Kinds that keep a case, with a heading."""

KINDS: Mapping[str, str] = MappingProxyType({**ERRORS, **WARNINGS})
"""Every kind with a heading, in the order of reports."""

_UNKNOWN_REMEDY = "Mend the file, or leave the case out with --exclude."


@dataclass(frozen=True)
class Finding:
    """Something wrong with a case, or with the data set.

    Attributes:
        kind: one of `KINDS`, which decides the severity.
        case: id; empty for what concerns the data set as a whole.
        message: what was seen and what was expected.
        remedy: what to do about it.
        file: the file at fault, where it is one.
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
    """What reading a case ended with, as a finding; the file is the one that the message names last."""
    kind = error.kind if error.kind in KINDS else "unreadable"
    return Finding(str(kind), case.id, error.message, error.hint or _UNKNOWN_REMEDY, file_named(error.message, case))


def file_named(message: str, case: Case) -> Path | None:
    """The file of the case that a message names last."""
    files = [*case.channels, *([case.label] if case.label is not None else [])]
    named = [(message.rfind(str(file)), len(str(file)), file) for file in files if str(file) in message]
    return max(named)[2] if named else None


def errors_by_case(findings: list[Finding]) -> dict[str, str]:
    """Id of each case that is left out -> why."""
    found: dict[str, str] = {}
    for one in findings:
        if one.severity == "error":
            found.setdefault(one.case, str(one))
    return found


def in_order(findings: list[Finding]) -> list[Finding]:
    """Sorted for reports: errors first, then by kind as in `KINDS`, then by case."""
    place = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda one: (place[one.kind], one.case))
