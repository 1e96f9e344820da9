"""Findings, and errors as findings."""

from pathlib import Path

import pytest

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.planning.findings import ERRORS, KINDS, WARNINGS, Finding, errors_by_case, finding_of, in_order

CASE = Case("c", "c", (Path("set/c.nii"), Path("set/c.nii.gz")), Path("set/l.nii"))


def test_every_kind_is_an_error_or_a_warning():
    assert not ERRORS.keys() & WARNINGS.keys()
    assert [*KINDS] == [*ERRORS, *WARNINGS]
    assert Finding("spacing", "c", "m", "r").severity == "warning"
    assert Finding("truncated", "c", "m", "r").severity == "error"


@pytest.mark.parametrize(
    ("error", "kind", "file"),
    [
        (DataError("set/l.nii is incomplete.", "again", "truncated"), "truncated", Path("set/l.nii")),
        (DataError("set/c.nii and set/l.nii differ.", None, "label grid"), "label grid", Path("set/l.nii")),
        (DataError("set/c.nii.gz is odd."), "unreadable", Path("set/c.nii.gz")),
        (DataError("Something else.", "hint", "no such kind"), "unreadable", None),
    ],
)
def test_an_error_becomes_a_finding(error, kind, file):
    finding = finding_of(error, CASE)
    assert (finding.kind, finding.case, finding.file, finding.message) == (kind, "c", file, error.message)
    assert finding.remedy == (error.hint or "Repair the file, or leave the case out with --exclude IDS.txt.")


def test_errors_come_first_and_the_first_of_a_case_counts():
    findings = in_order(
        [Finding("shape", "b", "1", ""), Finding("units", "a", "2", "x"), Finding("truncated", "a", "3", "y")]
    )
    assert [finding.message for finding in findings] == ["3", "2", "1"]
    assert errors_by_case(findings) == {"a": "3\ny"}
