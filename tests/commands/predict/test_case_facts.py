"""Facts on scans from a spreadsheet: separators of any country, and what is not a fact stays out."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.commands.predict.case_facts import case_facts
from medseg.core.errors import DataError


@pytest.mark.parametrize("named_by", ["id", "case", "Case"])
@pytest.mark.parametrize("head", ["", "sep=;\n"])
def test_a_spreadsheet_adds_its_columns_in_their_order(tmp_path: Path, head: str, named_by: str) -> None:
    table = tmp_path / "patients list.csv"
    table.write_text(
        f"{head}Patient;{named_by};Age;label;Sex\nP1;a;61,5;a.nii.gz;F\nP2;z;70;;M\n", encoding="utf-8-sig"
    )
    assert case_facts(table, ["a", "b"]) == {"a": {"patient": "P1", "Age": "61,5", "Sex": "F"}}
    assert case_facts(None, ["a"]) == {}


def test_weight_is_a_fact_but_in_tables_of_medsegs_own(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("id,Weight\na,81\n")
    assert case_facts(table, ["a"]) == {"a": {"weight": "81"}}
    table.write_text("id,channels,label,weight\na,a.nii.gz,a_seg.nii.gz,2\n")
    assert case_facts(table, ["a"]) == {"a": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Study,Age\na,61\n", "has no column called id or case; it has Study, Age"),
        ("id,Age\nz,61\n", "names none of the cases: it has z; the cases are a, b"),
        ("id,Age\na,61\na,62\n", "line 3: case 'a' has a row already"),
        ("id,Age\n", "has no rows"),
    ],
)
def test_a_table_that_helps_no_scan_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        case_facts(table, ["a", "b"])
