"""Findings on cases that the layout of the data set leaves out, before any of their files is read."""

from __future__ import annotations

from medseg.io.layouts.dataset import DataSet, LeftOut
from medseg.planning.findings import ERRORS, Finding

_REMEDIES = {
    "missing image": "Add the image under this name, or take the label away.",
    "missing label": "Add the label under this name, or take the image away.",
    "missing channel": "Add the file, or take the case away: every case needs all channels.",
    "other channels": "Take away what is too much, or name the channels that are meant.",
    "dicom geometry": "Choose another series, or leave the study out.",
    "ambiguous": "Leave one meaning: rename, move or take away what is too much.",
}

_OTHER_REMEDY = "Repair the files, or leave the case out with --exclude IDS.txt."


def layout_findings(data: DataSet) -> list[Finding]:
    """Return an error for each case that a data set's `problems` name as left out; its other notes are not findings."""
    findings = []
    for problem in data.problems:
        if isinstance(problem, LeftOut):
            reason, _, remedy = problem.why.partition("\n")
            message = f"{problem.id}: {reason.rstrip('.')}."
            kind = problem.kind if problem.kind in ERRORS else "ambiguous"  # errors of readers may have others
            remedy = remedy or _REMEDIES.get(kind, _OTHER_REMEDY)
            findings.append(Finding(kind, problem.id, message, remedy, problem.file))
    return findings
