"""A CSV that lists the files of each case, or says more of cases that are found without it."""

from dataclasses import replace

import pytest
from sets.layout_files import files_of, touch, write_json

from medseg.core.errors import DataError
from medseg.io.layouts.case_table import add_facts
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases


@pytest.fixture
def files(tmp_path):
    touch(tmp_path, *(f"scans/{name}_{kind}.nii" for name in "ab" for kind in ("t1", "t2", "seg")))
    return tmp_path


def table(folder, *lines: str, name: str = "cases.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_a_column_for_each_channel(files):
    table(
        files,
        "id,patient,T1,T2,label,annotated,weight,site",
        "x,p1,scans/a_t1.nii,scans/a_t2.nii,scans/a_seg.nii,liver; spleen,2,Köln",
        "y,p1,scans/b_t1.nii,scans/b_t2.nii,scans/b_seg.nii,,,",
    )
    data = find_cases(files)
    assert (data.layout, data.channels, data.problems) == ("table", ("T1", "T2"), [])
    assert files_of(data)["x"] == ["scans/a_t1.nii", "scans/a_t2.nii", "scans/a_seg.nii"]
    one, other = data.cases
    assert (one.patient, one.annotated, one.weight, one.attributes) == ("p1", ("liver", "spleen"), 2, {"site": "Köln"})
    assert (other.annotated, other.weight) == (None, 1)


def test_ids_and_patients_may_be_left_out(files):
    path = table(files, "image;mask", "scans/a_t1.nii;scans/a_seg.nii", name="list.csv")
    (case,) = find_cases(files, naming=Naming(table=path)).cases
    assert (case.id, case.patient) == ("a_seg", "a_seg")


def test_files_are_relative_to_the_table_or_to_the_folder(files, tmp_path):
    (tmp_path / "lists").mkdir()
    touch(tmp_path, "lists/near.nii")
    path = table(tmp_path / "lists", "id,ct,label", "a,near.nii,scans/a_seg.nii")
    (case,) = find_cases(files, naming=Naming(table=path)).cases
    assert case.channels == (tmp_path / "lists/near.nii",)
    assert case.label == files / "scans/a_seg.nii"


def test_rows_that_lack_a_file_are_named(files):
    table(
        files,
        "id,t1,label",
        "a,scans/a_t1.nii,scans/a_seg.nii",
        "b,scans/b_t1.nii,",
        "c,gone.nii,scans/b_seg.nii",
        "d,scans/b_t1.nii,far.nii",
    )
    data = find_cases(files)
    assert [case.id for case in data.cases] == ["a"]
    assert data.problems == [
        "b: cases.csv, line 3: it has no label file",
        f"c: cases.csv, line 4: there is no image file {files / 'gone.nii'}",
        f"d: cases.csv, line 5: there is no label file {files / 'far.nii'}",
    ]


def test_weights_in_the_loss_are_columns(files):
    touch(files, "scans/a_edges.nii")
    table(
        files,
        "id,t1,label,loss_weight,weight_map",
        "a,scans/a_t1.nii,scans/a_seg.nii,0.5,scans/a_edges.nii",
        "b,scans/b_t1.nii,scans/b_seg.nii,,",
        "c,scans/b_t1.nii,scans/b_seg.nii,,gone.nii",
    )
    data = find_cases(files)
    assert data.channels == ("t1",)
    assert [(case.weight, case.loss_weight, case.weight_map) for case in data.cases] == [
        (1, 0.5, files / "scans/a_edges.nii"),
        (1, 1, None),
    ]
    assert data.problems == [f"c: cases.csv, line 4: there is no weight map {files / 'gone.nii'}"]
    table(files, "id,loss_weight,weight_map", "a_t1,2,scans/a_edges.nii", name="facts.csv")
    facts = add_facts(replace(data, cases=[replace(data.cases[1], id="a_t1")]), files / "facts.csv").cases[0]
    assert (facts.loss_weight, facts.weight_map) == (2, files / "scans/a_edges.nii")


def test_structures_come_from_a_dataset_json_beside_it(files):
    write_json(files, labels={"background": 0, "liver": 4})
    table(files, "id,t1,label", "a,scans/a_t1.nii,scans/a_seg.nii")
    assert find_cases(files).labels.structures == {"liver": 4}


def test_a_table_without_files_says_more_of_known_cases(tmp_path):
    touch(tmp_path, *(f"{place}/{name}.png" for place in ("images", "masks") for name in "abc"))
    table(tmp_path, "id,patient,annotated,site", "a,p1,liver,Köln", "b,,,")
    data = find_cases(tmp_path)
    first, second, third = data.cases
    assert (first.patient, first.annotated, first.attributes) == ("p1", ("liver",), {"site": "Köln"})
    assert (second.patient, second.annotated) == ("b", None)
    assert third.attributes == {}
    table(tmp_path, "id,patient", "z,p1")
    with pytest.raises(DataError, match=r"names 'z', which is not a case here \(a, b, c, \.\.\.\)"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,t1,label", "a,scans/a_t1.nii,scans/a_seg.nii", "a,scans/b_t1.nii,scans/b_seg.nii"], "more than once"),
        (["id,t1,label", "a/b,scans/a_t1.nii,scans/a_seg.nii"], "cannot be the id"),
        (["id,t1,label,weight", "a,scans/a_t1.nii,scans/a_seg.nii,much"], "weight is 'much'"),
        (["id,t1,label"], "has no rows"),
        (
            ["t1,label,patient", "scans/a_t1.nii,scans/a_seg.nii,p", ",,q"],
            "line 3: a case needs an id and at least one",
        ),
    ],
)
def test_tables_that_are_not_valid(files, lines, message):
    table(files, *lines)
    with pytest.raises(DataError, match=message):
        find_cases(files)


def test_there_is_no_such_table(files):
    with pytest.raises(DataError, match=r"There is no file .*none\.csv"):
        find_cases(files, naming=Naming(table=files / "none.csv"))


@pytest.mark.parametrize("name", ["patient_id", "PatientID", "Subject", "subject-name"])
def test_a_column_that_seems_to_name_the_patient_is_told(files, name):
    table(files, f"id,{name},T1,label", "x,p1,scans/a_t1.nii,scans/a_seg.nii", "y,p1,scans/b_t1.nii,scans/b_seg.nii")
    (note,) = find_cases(files).problems
    assert f"the column {name!r} is kept, and decides nothing" in note


@pytest.mark.parametrize("name", ["patient", "Patient", "patient_age", "Subjective"])
def test_other_columns_are_not_told(files, name):
    table(files, f"id,{name},T1,label", "x,p1,scans/a_t1.nii,scans/a_seg.nii", "y,p1,scans/b_t1.nii,scans/b_seg.nii")
    data = find_cases(files)
    assert data.problems == []
    assert {case.patient for case in data.cases} == ({"p1"} if name.lower() == "patient" else {"x", "y"})


def test_a_table_of_facts_without_ids_is_told_its_columns(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "cases.csv").write_text("case,split\na,train\n")
    with pytest.raises(DataError, match=r"cases\.csv has no column id; its columns are case, split"):
        find_cases(tmp_path)


@pytest.mark.parametrize("columns", ["mask,seg", "label,segmentation"])
def test_several_columns_of_labels_are_refused(files, columns):
    """One of them would be an input of the network."""
    table(files, f"id,t1,{columns}", "a,scans/a_t1.nii,scans/a_t2.nii,scans/a_seg.nii")
    with pytest.raises(DataError, match=f"has 2 columns of labels: {columns.replace(',', ', ')}; expected one"):
        find_cases(files)


def test_a_column_that_seems_to_hold_labels_and_is_an_input_is_told(files):
    table(files, "id,t1,seg_reader2,label", "a,scans/a_t1.nii,scans/a_t2.nii,scans/a_seg.nii")
    data = find_cases(files)
    assert data.channels == ("t1", "seg_reader2")
    assert any("the column 'seg_reader2' is an input of the network" in problem for problem in data.problems)


@pytest.mark.parametrize("nothing", ["", "NA", "nan", "-", "none"])
def test_a_case_without_the_file_of_a_channel_is_left_out_alone(files, nothing):
    touch(files, *(f"scans/c_{kind}.nii" for kind in ("t1", "t2", "seg")))
    rows = [f"{name},scans/{name}_t1.nii,scans/{name}_t2.nii,scans/{name}_seg.nii" for name in "ab"]
    table(files, "id,t1,t2,label", *rows, f"c,scans/c_t1.nii,{nothing},scans/c_seg.nii")
    data = find_cases(files)
    assert (data.channels, [case.id for case in data.cases]) == (("t1", "t2"), ["a", "b"])
    assert any("line 4" in problem for problem in data.problems)


def test_facts_on_a_case_twice_are_refused(tmp_path):
    touch(tmp_path, *(f"{kind}/{name}.nii" for name in "ab" for kind in ("images", "labels")))
    table(tmp_path, "id,patient", "a,p1", "b,p1", "a,p2")
    with pytest.raises(DataError, match="line 4: case 'a' has a row already"):
        find_cases(tmp_path)


def test_a_users_column_called_series_makes_no_study(files):
    table(files, "id,image,label,series", "a,scans/a_t1.nii,scans/a_seg.nii,3", "b,scans/b_t1.nii,scans/b_seg.nii,4")
    data = find_cases(files)
    assert (data.channels, [case.attributes["series"] for case in data.cases]) == (("image",), ["3", "4"])


def test_a_table_and_options_on_files_are_not_both_followed(files):
    table(files, "id,image,label", "a,scans/a_t1.nii,scans/a_seg.nii")
    with pytest.raises(DataError, match=r"cases\.csv lists the files of each case, and --images and --labels would"):
        find_cases(files, naming=Naming(images=("scans/*_t2.nii",), labels="scans/*_seg.nii"))


def test_lists_of_a_split_hold_for_the_cases_of_a_table(files):
    rows = [f"{name},scans/{name}_t1.nii,scans/{name}_seg.nii" for name in "ab"]
    table(files, "id,image,label", *rows)
    (files / "train.txt").write_text("a\n")
    (files / "test.txt").write_text("b\n")
    assert [case.attributes["split"] for case in find_cases(files).cases] == ["train", "test"]
