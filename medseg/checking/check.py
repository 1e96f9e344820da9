"""The check of a data set: apply every rule to what one pass over its files collected.

Errors leave a case out of the plan, warnings keep it. Rules that compare cases say nothing about very small data sets.
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
from medseg.checking.check_planned_grid import check_planned_grid
from medseg.checking.check_sides import check_sides
from medseg.checking.duplicates import check_duplicates
from medseg.checking.layout_findings import layout_findings
from medseg.checking.leaks import check_leaks
from medseg.core.errors import DataError
from medseg.core.labels import NO_BACKGROUND
from medseg.core.wording import counted
from medseg.io.layouts.dataset import DataSet
from medseg.planning.findings import KINDS, Finding, in_order
from medseg.planning.survey import Survey

_MOST_SHOWN = 3


def check_set(
    data: DataSet, surveyed: Survey, orientation: Literal["canonical", "stored"], partly_labelled: bool = False
) -> list[Finding]:
    """Return everything that is wrong, or looks wrong, in a data set, in the order of reports (errors first).

    Args:
        data: the data set.
        surveyed: the result of the pass over its files, see `planning.survey.survey`.
        orientation: how the plan will use the axes of the scans.
        partly_labelled: a structure that a label file does not hold was not annotated there, and so is not missing; a
            label file without any structure is an error, unless a table says what was annotated.

    Raises:
        DataError: all masks hold only a value that the layout takes for the ignore value, see `check_ignored`.
    """
    cases = {case.id: case for case in data.cases}
    errors = [*layout_findings(data), *surveyed.errors]
    ignored = check_ignored(surveyed.cases, cases, data, surveyed.errors)
    unusable = empty_scans(surveyed.cases, cases) + odd_units(surveyed.cases, cases)
    if partly_labelled:
        unusable += unannotated(surveyed.cases, cases)
    left_out = {finding.case for finding in unusable}
    facts = [case for case in surveyed.cases if case.id not in left_out]
    only_ignored = {finding.case for finding in ignored}
    warnings = [
        *(finding for finding in ignored if finding.case not in left_out),
        *check_labels(
            [case for case in facts if case.id not in only_ignored],
            cases,
            data.labels,
            data.ignore,
            data.background_value != NO_BACKGROUND,
        ),
        *check_sides(facts, cases, data.labels),
        *check_duplicates(facts, data),
        *check_leaks(data),
        *check_grids(facts, cases, stored=orientation == "stored"),
        *check_planned_grid(facts, cases, data.labels, data.ignore),
        *check_intensities(facts, cases, data.channels),
    ]
    if partly_labelled:
        warnings = [finding for finding in warnings if finding.kind != "missing structure"]
    return in_order([*errors, *unusable, *warnings])


def warnings_in_short(findings: Sequence[Finding], folder: Path) -> list[str]:
    """Return a sentence that counts the warnings of each kind; [] if there are none.

    Args:
        findings: the findings on a data set.
        folder: the data set's folder, for the advice to check it.
    """
    counts = Counter(finding.kind for finding in findings if finding.severity == "warning")
    if not counts:
        return []
    kinds = "; ".join(f"{KINDS[kind]} ({count})" for kind, count in counts.items())
    keep = "which keep their cases" if counts.total() > 1 else "which keeps its case"
    return [f"{counted(counts.total(), 'warning')}, {keep}: {kinds}. `medseg check {folder}` shows more"]


def refuse_findings(findings: Sequence[Finding], folder: Path) -> None:
    """Refuse a data set with any finding, for `--strict`.

    Args:
        findings: the findings on the data set.
        folder: its folder, for the message.

    Raises:
        DataError: there are findings; the message has their number and the first of them.
    """
    if not findings:
        return
    first = "\n".join(finding.message for finding in findings[:_MOST_SHOWN])
    errors = sum(finding.severity == "error" for finding in findings)
    raise DataError(
        f"The check of {folder} found {counted(errors, 'error')} and {counted(len(findings) - errors, 'warning')}, and "
        f"--strict allows none. The first:\n{first}",
        f"`medseg check {folder}` shows all of them and what to do about each; without --strict, cases with errors "
        "are left out.",
    )
