"""Volumes with a row for each case, and as a workbook."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medseg.commands.predict.result import PredictResult
from medseg.commands.predict.volume_tables import wide_table, write_volume_tables

ML = {"a": "ml", "b": "ml"}
RESULT = PredictResult(
    {case: Path(f"{case}.nii.gz") for case in ML},
    {"a": {"liver": 1500.0, "=1+1": 0.25}, "b": {"liver": 1.0, "=1+1": 0.0}},
    ML,
    {},
    warnings={"b": ("its spacing is unlike.",)},
)


def test_a_row_a_case_with_a_column_for_each_structure() -> None:
    columns, rows = wide_table(RESULT)
    assert columns == ["case", "unit", "liver", "=1+1", "warning"]
    assert rows == [["a", "ml", "1500", "0.25", ""], ["b", "ml", "1", "0", "its spacing is unlike."]]


def test_a_scan_without_an_answer_has_a_row_that_says_why() -> None:
    torn = replace(RESULT, failed={"c": "c.nii.gz is incomplete.\nCopy it again."})
    columns, rows = wide_table(torn)
    assert rows[2] == ["c", "", "", "", "failed: c.nii.gz is incomplete. Copy it again."]
    assert len(rows[2]) == len(columns)


def test_a_row_without_figures_is_coloured_in_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    write_volume_tables(tmp_path, replace(RESULT, failed={"c": "torn."}), workbook=True)
    sheet = openpyxl.load_workbook(tmp_path / "volumes.xlsx")["cases"]
    assert [cell.value or "" for cell in sheet[4]] == ["c", "", "", "failed: torn."]
    assert sheet.cell(4, 1).fill.fgColor.rgb == "FFFFE8B3"


FACTS = {"a": {"patient": "007", "age": "61.5", "warning": "none"}, "c": {"patient": "008", "age": "", "warning": ""}}


def test_columns_of_a_table_stand_last_and_lack_nothing_for_scans_that_it_does_not_name() -> None:
    columns, rows = wide_table(replace(RESULT, facts=FACTS, failed={"c": "torn."}))
    assert columns[5:] == ["patient", "age", "table warning"]
    assert [row[5:] for row in rows] == [["007", "61.5", "none"], ["", "", ""], ["008", "", ""]]


def test_numbers_of_a_table_are_numbers_in_a_workbook_and_colour_nothing(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    write_volume_tables(tmp_path, replace(RESULT, facts=FACTS), workbook=True)
    sheet = openpyxl.load_workbook(tmp_path / "volumes.xlsx")["cases"]
    assert [cell.value for cell in sheet[1]] == [
        *("case", "liver (ml)", "=1+1 (ml)", "warning"),
        *("patient", "age", "table warning"),
    ]
    assert [cell.value or "" for cell in sheet[2]] == ["a", 1500, 0.25, "", "007", 61.5, "none"]
    assert sheet.cell(2, 1).fill.fill_type is None


@pytest.mark.parametrize(
    ("text", "value"), [("110101199003078515", "110101199003078515"), ("123456789012345", 123456789012345)]
)
def test_numbers_of_more_digits_than_a_workbook_holds_are_text(tmp_path: Path, text: str, value: str | int) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    write_volume_tables(tmp_path, replace(RESULT, facts={"a": {"patient": text}}), workbook=True)
    assert openpyxl.load_workbook(tmp_path / "volumes.xlsx")["cases"].cell(2, 5).value == value


def test_the_tables_are_written_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    write_volume_tables(tmp_path, RESULT, workbook=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volumes.csv", "volumes_wide.csv"]
    assert (tmp_path / "volumes_wide.csv").read_text().splitlines()[:2] == [
        "case,unit,liver,'=1+1,warning",
        "a,ml,1500,0.25,",
    ]


def test_a_workbook_has_units_colours_what_is_doubtful_and_is_the_same_each_time(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    for name in ("one", "two"):
        write_volume_tables(tmp_path / name, RESULT, workbook=True)
    path = tmp_path / "one" / "volumes.xlsx"
    assert path.read_bytes() == (tmp_path / "two" / "volumes.xlsx").read_bytes()
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["cases", "structures"]
    cells = [[cell.value for cell in row] for row in book["cases"].iter_rows()]
    assert cells == [
        ["case", "liver (ml)", "=1+1 (ml)", "warning"],
        ["a", 1500, 0.25, ""],
        ["b", 1, 0, "its spacing is unlike."],
    ]
    assert {cell.data_type for row in book["cases"].iter_rows() for cell in row} <= {"s", "n"}, "no formulas"
    first, second = (book["cases"].cell(row, 1).fill.fgColor.rgb for row in (2, 3))
    assert first != second == "FFFFE8B3"
    assert book["structures"].cell(3, 2).value == "=1+1"


def test_units_that_differ_have_a_column_of_their_own(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    mixed = PredictResult(RESULT.files, RESULT.volumes, {"a": "ml", "b": "pixels"}, {})
    write_volume_tables(tmp_path, mixed, workbook=True)
    sheet = openpyxl.load_workbook(tmp_path / "volumes.xlsx")["cases"]
    assert [[cell.value for cell in row][:3] for row in sheet.iter_rows()] == [
        ["case", "unit", "liver"],
        ["a", "ml", 1500],
        ["b", "pixels", 1],
    ]


def test_names_that_look_like_numbers_are_text(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    names = ["nan", "inf", "001", "1e5", "warning", "flags"]
    volumes = {"007": {name: float(number) for number, name in enumerate(names)}}
    result = PredictResult({"007": Path("007.nii.gz")}, volumes, {"007": "ml"}, {})
    assert write_volume_tables(tmp_path, result, workbook=True) is None
    book = openpyxl.load_workbook(tmp_path / "volumes.xlsx")
    cells = [[cell.value for cell in row] for row in book["structures"].iter_rows()]
    assert [row[:4] for row in cells[1:]] == [["007", name, number, "ml"] for number, name in enumerate(names)]
    assert [cell.value for cell in book["cases"][2]][:7] == ["007", 0, 1, 2, 3, 4, 5]
    assert book["cases"].cell(2, 1).fill.fill_type is None, "a structure called warning warns of nothing"


def test_a_workbook_that_fails_costs_no_other_table_and_is_named(tmp_path: Path) -> None:
    pytest.importorskip("xlsxwriter")
    (tmp_path / "volumes.xlsx").mkdir()  # nothing can be written there
    note = write_volume_tables(tmp_path, RESULT, workbook=True)
    assert note is not None
    assert note.startswith("volumes.xlsx was not written (")
    assert (tmp_path / "volumes.csv").read_text().count("liver") == 2
    assert (tmp_path / "volumes_wide.csv").exists()


def test_an_earlier_workbook_does_not_stay(tmp_path: Path) -> None:
    """Its cases are those of another run, and the manifest would list it as a file of this one."""
    (tmp_path / "volumes.xlsx").write_text("three cases")
    assert write_volume_tables(tmp_path, RESULT, workbook=False) is None
    assert not (tmp_path / "volumes.xlsx").exists()
