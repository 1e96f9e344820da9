"""cases.csv: what is written comes back, and what a user edits is checked."""

from dataclasses import replace
from pathlib import Path

import pytest

from medseg.core.case import Case, check_ids, read_cases, read_rows, write_cases
from medseg.core.errors import DataError


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    elsewhere = tmp_path / "elsewhere" / "label.nii.gz"
    cases = [
        Case("a", "p1", (folder / "a_0000.nii.gz", folder / "a_0001.nii.gz"), folder / "labels" / "a.nii.gz"),
        Case("b, left", "p1", (folder / "b.png",), elsewhere, ("liver", "left kidney"), 0.25, {"site": "Köln, 3"}),
        Case("c", "c", (folder / "c.png",), weight=0.0, attributes={"sex": "f"}),
    ]
    write_cases(tmp_path / "cases.csv", cases, folder)
    back = read_cases(tmp_path / "cases.csv", folder)
    # every row carries every column of the table
    assert back[0] == Case(*list(vars(cases[0]).values())[:6], {"sex": "", "site": ""})
    assert back[1] == Case(*list(vars(cases[1]).values())[:6], {"sex": "", "site": "Köln, 3"})
    assert back[2] == Case(*list(vars(cases[2]).values())[:6], {"sex": "f", "site": ""})


def test_files_inside_the_folder_move_with_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_cases(tmp_path / "cases.csv", [Case("a", "a", (old / "x" / "a.png",), old / "y" / "a.png")], old)
    (back,) = read_cases(tmp_path / "cases.csv", new)
    assert back.channels == (new / "x" / "a.png",)
    assert back.label == new / "y" / "a.png"


def write(tmp_path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def test_a_short_table_of_a_user_has_sensible_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "id,channels", " a , a_0.nii ; a_1.nii ", encoding="utf-8-sig")
    assert read_cases(path, tmp_path) == [Case("a", "a", (tmp_path / "a_0.nii", tmp_path / "a_1.nii"))]


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "id,channels,site", "a,a.nii,Köln", encoding="cp1252")
    with pytest.raises(DataError, match=r"cases\.csv is not UTF-8 text"):
        read_cases(path, tmp_path)


def test_line_ends_of_other_systems_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b'id,channels,site\r\na,a.nii,"two\nlines"\r\nb,b.nii,c\r\n')
    assert [(case.id, case.attributes["site"]) for case in read_cases(path, tmp_path)] == [
        ("a", "two\nlines"),
        ("b", "c"),
    ]


def test_a_field_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cases\.csv is not a table: field larger than field limit"):
        read_cases(write(tmp_path, "id,channels", f"a,{'x' * 200_000}"), tmp_path)


@pytest.mark.parametrize("id", ["sub/01", "sub\\01", "../a", ".hidden", "a\0"])
def test_ids_that_are_no_file_names_are_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(DataError, match=r"cannot be the id of a case") as caught:
        check_ids(["a.1", "b c", id], "cases.csv")
    assert str(caught.value).startswith(f"cases.csv: {id!r} cannot")


def test_ids_in_a_table_are_checked(tmp_path: Path) -> None:
    rows = [f"sub/{number},{number}.nii" for number in range(7)]
    with pytest.raises(DataError, match=r"cases\.csv: 'sub/0', .*'sub/4', \.\.\. cannot be the id"):
        read_cases(write(tmp_path, "id,channels", *rows), tmp_path)


def test_the_weight_in_the_loss_is_another_column_that_is_written_where_it_is_not_1(tmp_path: Path) -> None:
    cases = [Case("a", "a", (tmp_path / "a.png",)), Case("b", "b", (tmp_path / "b.png",), weight=2.0)]
    write_cases(tmp_path / "cases.csv", cases, tmp_path)
    assert "loss_weight" not in (tmp_path / "cases.csv").read_text()
    cases = [cases[0], replace(cases[1], loss_weight=0.5)]
    write_cases(tmp_path / "cases.csv", cases, tmp_path)
    assert read_cases(tmp_path / "cases.csv", tmp_path) == cases


@pytest.mark.parametrize("column", ["weight", "loss_weight"])
@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "heavy"])
def test_an_odd_weight_is_refused_with_its_line(tmp_path: Path, weight: str, column: str) -> None:
    path = write(tmp_path, f"id,channels,{column}", "a,a.nii,1", f"b,b.nii,{weight}")
    with pytest.raises(DataError, match=rf"line 3: {column} is '{weight}'; expected a number of 0 or more"):
        read_cases(path, tmp_path)


def test_a_missing_column_is_named_with_those_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no column channels; it has id, image"):
        read_cases(write(tmp_path, "id,image", "a,a.nii"), tmp_path)


def test_an_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the id 'b' appears more than once"):
        read_cases(write(tmp_path, "id,channels", "a,1.nii", "b,2.nii", "b,3.nii"), tmp_path)


@pytest.mark.parametrize("row", [",a.nii", "a,"])
def test_a_row_without_an_id_or_a_file_is_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match="line 2: a case needs an id and at least one channel file"):
        read_cases(write(tmp_path, "id,channels", row), tmp_path)


@pytest.mark.parametrize(
    "heading", ["id,patient,weight,site", "ID,Patient,WEIGHT,site", " Id , PATIENT ,Weight, site "]
)
def test_columns_with_a_meaning_may_be_written_in_capitals(tmp_path, heading):
    assert read_rows(write(tmp_path, heading, "a,p1,2,North")) == [
        (2, {"id": "a", "patient": "p1", "weight": "2", "site": "North"})
    ]


def test_names_of_other_columns_stay_as_they_are(tmp_path):
    assert read_rows(write(tmp_path, "ID,T1,Site", "a,b.nii,N")) == [(2, {"id": "a", "T1": "b.nii", "Site": "N"})]


def test_rows_without_a_value_are_left_out_and_lines_still_count(tmp_path):
    rows = read_rows(write(tmp_path, "id,site", "a,N", ",", "", "b,S", " , "))
    assert rows == [(2, {"id": "a", "site": "N"}), (5, {"id": "b", "site": "S"})]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_line_by_which_excel_names_the_separator_is_followed(tmp_path, separator):
    lines = [separator.join(fields) for fields in (("id", "site"), ("a", "N"))]
    assert read_rows(write(tmp_path, f"sep={separator}", *lines)) == [(3, {"id": "a", "site": "N"})]


def test_more_fields_than_columns_are_refused(tmp_path):
    assert read_rows(write(tmp_path, "id,site", "a,N,,")) == [(2, {"id": "a", "site": "N"})]
    with pytest.raises(DataError, match=r"cases\.csv, line 3: 3 fields; expected 2 columns"):
        read_rows(write(tmp_path, "id,site", "a,N", "b,Köln, Nippes"))


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"has two columns called 'patient'"):
        read_rows(write(tmp_path, "id,patient,Patient", "a,1,2"))
