"""The check of a data set: every rule on what one pass over its files found.

Errors leave a case out of the plan, warnings keep it. Rules that compare cases are silent on a handful.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from medseg.checking.check_grids import check_grids, odd_units
from medseg.checking.check_ignored import check_ignored
from medseg.checking.check_intensities import check_intensities, empty_scans
from medseg.checking.check_labels import check_labels, unannotated
from medseg.checking.duplicates import check_twins
from medseg.checking.layout_findings import layout_findings
from medseg.checking.leaks import check_leaks
from medseg.core.errors import DataError
from medseg.core.wording import counted
from medseg.io.layouts.dataset import DataSet
from medseg.planning.findings import KINDS, Finding, in_order
from medseg.planning.survey import Survey

_MOST_SHOWN = 3


def check_set(
    data: DataSet, found: Survey, orientation: Literal["canonical", "stored"], partly_labelled: bool = False
) -> list[Finding]:
    """Everything that is wrong, or looks wrong, in a data set; errors first.

    Args:
        data: the data set.
        found: what the pass over its files found, see `planning.survey.survey`.
        orientation: in which the plan will use the scans.
        partly_labelled: a structure that a label does not hold was not annotated there, so that it is not missing; a
            label without any, of which no table says what was annotated, is an error.

    Raises:
        DataError: all masks hold only a value that the layout takes for the ignore value, see `check_ignored`.
    """
    cases = {case.id: case for case in data.cases}
    errors = [*layout_findings(data), *found.errors]
    ignored = check_ignored(found.cases, cases, data, found.errors)
    unusable = empty_scans(found.cases, cases) + odd_units(found.cases, cases)
    if partly_labelled:
        unusable += unannotated(found.cases, cases)
    out = {one.case for one in unusable}
    facts = [one for one in found.cases if one.id not in out]
    named = {one.case for one in ignored}
    warnings = [
        *(one for one in ignored if one.case not in out),
        *check_labels([one for one in facts if one.id not in named], cases, data.labels, data.ignore),
        *check_twins(facts, data),
        *check_leaks(data),
        *check_grids(facts, cases, stored=orientation == "stored"),
        *check_intensities(facts, cases, data.channels),
    ]
    if partly_labelled:
        warnings = [one for one in warnings if one.kind != "missing structure"]
    return in_order([*errors, *unusable, *warnings])


def warnings_in_short(findings: Sequence[Finding], folder: Path) -> list[str]:
    """A sentence on the warnings among the findings, if there are any."""
    counts = Counter(one.kind for one in findings if one.severity == "warning")
    if not counts:
        return []
    kinds = "; ".join(f"{KINDS[kind]} ({count})" for kind, count in counts.items())
    keep = "which keep their cases" if counts.total() > 1 else "which keeps its case"
    return [f"{counted(counts.total(), 'warning')}, {keep}: {kinds}. `medseg check {folder}` shows more"]


def refuse_findings(findings: Sequence[Finding], folder: Path) -> None:
    """For `--strict`: refuse to go on with any finding.

    Raises:
        DataError: with how many there are, and the first of them.
    """
    if not findings:
        return
    shown = "\n".join(one.message for one in findings[:_MOST_SHOWN])
    errors = sum(one.severity == "error" for one in findings)
    raise DataError(
        f"The check of {folder} found {counted(errors, 'error')} and {counted(len(findings) - errors, 'warning')}, and "
        f"--strict allows none. The first:\n{shown}",
        f"`medseg check {folder}` shows all of them with what to do; without --strict, cases with errors are left out.",
    )
