"""No cell of a table that medseg writes is a formula, and medseg reads back what it wrote."""

import csv
import io
from pathlib import Path

import pytest

from medseg.commands.predict.result import PredictResult
from medseg.commands.predict.volume_tables import long_table
from medseg.core.case import Case, read_cases, write_cases
from medseg.core.csv_text import csv_text, neutral_cell, original_cell

FORMULAS = ["=1+1", "+cmd|'/C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")', "-", "+", "'=1"]
TEXTS = ["", "liver", "case 1", "a=b", "'s", "1-2", "Ödem", "''"]
NUMBERS = ["-1", "+1", "-1.5e-3", "0", "-inf"]


def starts_a_formula(cell: str) -> bool:
    return cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_become_text(text: str) -> None:
    assert not starts_a_formula(neutral_cell(text))


@pytest.mark.parametrize("text", [*TEXTS, *NUMBERS])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert neutral_cell(text) == text


@pytest.mark.parametrize("text", [*FORMULAS, *TEXTS, *NUMBERS, "''=1", "'-1"])
def test_reading_restores_every_text(text: str) -> None:
    assert original_cell(neutral_cell(text)) == text


def test_numbers_stay_numbers() -> None:
    assert csv_text(["=a", "b"], [["@x", -1.5], [None, 2]]) == "'=a,b\n'@x,-1.5\n,2\n"


def test_a_table_of_cases_comes_back(tmp_path: Path) -> None:
    attributes = {"=site": "@b", "change": "-0.5", "test": "+"}
    cases = [Case("=1+1", "-p", (tmp_path / "+scan.nii",), tmp_path / "'=label.nii", ("a",), 1.0, attributes)]
    write_cases(tmp_path / "cases.csv", cases, tmp_path)
    rows = list(csv.reader(io.StringIO((tmp_path / "cases.csv").read_text())))
    assert [cell for row in rows for cell in row if starts_a_formula(cell)] == ["-0.5"]
    assert read_cases(tmp_path / "cases.csv", tmp_path) == cases


def test_volumes_hold_no_formula(tmp_path: Path) -> None:
    result = PredictResult({"=1": tmp_path}, {"=1": {"@liver": 1.5}}, {"=1": "ml"}, {}, frozenset(), ())  # type: ignore[arg-type]
    assert csv_text(*long_table(result)) == "case,structure,volume,unit,warning\n'=1,'@liver,1.5,ml,\n"


def test_no_module_writes_csv_by_itself() -> None:
    package = Path(__file__).parents[2] / "medseg"
    writers = [
        path.name
        for path in package.rglob("*.py")
        if "csv.writer(" in path.read_text() or "DictWriter(" in path.read_text()
    ]
    assert writers == ["csv_text.py"]
