"""Findings on cases that the layout of the data set leaves out, before any of their files is read."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.io.layouts.dataset import DataSet, LeftOut
from medseg.planning.findings import Finding

_KINDS = (
    (r"cannot be read as a volume", "dicom geometry"),
    (r" has no series", "missing image"),
    (r"there is no image|label [^;]* has no image", "missing image"),
    (r"there is no (?:label|mask|seg|gt|manual|annotation)|no label file|has no counterpart", "missing label"),
    (r"is beyond what was expected", "other channels"),
    (r"every case needs|there is no .*; there is|a channel has no file|lists \d+ files?", "missing channel"),
    (r"(?i)(?:label|mask|seg|annot)[^/\\]*[/\\][^/\\]*, which (?:does not exist|is not an image)", "missing label"),
    (r"does not exist|is not an image", "missing image"),
)
"""(regular expression, kind): the first one that matches the reason, which each reader of a layout words itself."""

_REMEDIES = {
    "missing image": "Add the image under this name, or take the label away.",
    "missing label": "Add the label under this name, or take the image away.",
    "missing channel": "Add the file, or take the case away: every case needs all channels.",
    "other channels": "Take away what is too much, or name the channels that are meant.",
    "dicom geometry": "Choose another series, or leave the study out.",
    "ambiguous": "Leave one meaning: rename, move or take away what is too much.",
}


def layout_findings(data: DataSet) -> list[Finding]:
    """Return an error for each case that a data set's `problems` name as left out; its other notes are not findings."""
    findings = []
    for problem in data.problems:
        if isinstance(problem, LeftOut):
            kind = next((kind for pattern, kind in _KINDS if re.search(pattern, problem.why)), "ambiguous")
            reason, _, remedy = problem.why.partition("\n")
            message = f"{problem.id}: {reason.rstrip('.')}."
            findings.append(Finding(kind, problem.id, message, remedy or _REMEDIES[kind], _file(problem)))
    return findings


def _file(problem: LeftOut) -> Path | None:
    """Return the file or folder that a reason names; None if it names none."""
    match = re.search(r"(?: in | lists | no (?:image|label) file )(\S.*?)(?:, which .*)?$", problem.why)
    return Path(match[1]) if match and ("/" in match[1] or "\\" in match[1]) else None
