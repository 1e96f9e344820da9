"""Findings on cases that were left out before a file of theirs was read, as the layout of the data set says."""

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
    (r"(?i)(?:label|mask|seg|annot)[^/\\]*[/\\][^/\\]*, which (?:does not exist|is no image)", "missing label"),
    (r"does not exist|is no image", "missing image"),
)
"""What a reason says, by the first that fits: the readers of layouts give it in words, each in its own."""

_REMEDIES = {
    "missing image": "Add the image under this name, or take the label away.",
    "missing label": "Add the label under this name, or take the image away.",
    "missing channel": "Add the file, or take the case away: every case needs all channels.",
    "other channels": "Take away what is too much, or name the channels that are meant.",
    "dicom geometry": "Choose another series, or leave the study out.",
    "ambiguous": "Leave one meaning: rename, move or take away what is too much.",
}


def layout_findings(data: DataSet) -> list[Finding]:
    """An error for each case that the data set's `problems` say was left out; its other notes are none."""
    found = []
    for problem in data.problems:
        if isinstance(problem, LeftOut):
            kind = next((kind for pattern, kind in _KINDS if re.search(pattern, problem.why)), "ambiguous")
            why, _, remedy = problem.why.partition("\n")
            message = f"{problem.id}: {why.rstrip('.')}."
            found.append(Finding(kind, problem.id, message, remedy or _REMEDIES[kind], _file(problem)))
    return found


def _file(problem: LeftOut) -> Path | None:
    """The file or folder that the reason names, if it is one."""
    match = re.search(r"(?: in | lists | no (?:image|label) file )(\S.*?)(?:, which .*)?$", problem.why)
    return Path(match[1]) if match and ("/" in match[1] or "\\" in match[1]) else None
