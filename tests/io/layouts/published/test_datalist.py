"""Datalists of MONAI and Auto3DSeg: lists of cases in a JSON file of any name, with folds and parts of a split."""

import json
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases


def entry(number: int, **others: object) -> dict[str, object]:
    return {"image": f"scans/c{number}.nii.gz", "label": f"truth/c{number}.nii.gz", **others}


@pytest.fixture
def folder(tmp_path: Path, save_nifti) -> Path:
    rng = np.random.default_rng(0)
    for number in range(6):
        label = np.zeros((8, 9, 10), np.uint8)
        label[2:5, 2 : 5 + number % 3, 3:7] = 1
        save_nifti(tmp_path / f"set/truth/c{number}.nii.gz", label)
        save_nifti(tmp_path / f"set/scans/c{number}.nii.gz", (label + rng.normal(size=label.shape)).astype(np.float32))
    return tmp_path / "set"


def write(folder: Path, name: str = "datalist.json", **content: object) -> None:
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["datalist.json", "dataset.json", "task_fold5.json"])
def test_folds_of_the_list_are_the_folds_of_the_plan(folder, name):
    write(folder, name, training=[entry(number, fold=number % 3) for number in range(6)])
    data = find_cases(folder)
    assert (data.layout, data.channels, len(data.cases)) == ("datalist", ("image",), 6)
    result = medseg.plan(folder, folder.parent, "listed", medseg.PlanOptions(preset="cpu"))
    folds = json.loads(result.splits_path.read_text())
    assert [fold["val"] for fold in folds] == [["c0", "c3"], ["c1", "c4"], ["c2", "c5"]]
    assert folds[0]["train"] == ["c1", "c2", "c4", "c5"]
    assert any("3 folds of the data set's own (fold)" in note for note in result.notes)
    grouped = medseg.plan(folder, folder.parent, "grouped", medseg.PlanOptions(preset="cpu", splits="grouped"))
    assert len(json.loads(grouped.splits_path.read_text())) == 5
    assert any("the data set's own folds are not used, as asked for" in note for note in grouped.notes)


def test_a_decathlon_list_with_folds_keeps_them(folder):
    write(
        folder,
        "dataset.json",
        modality={"0": "MR"},
        labels={"0": "background", "1": "organ"},
        training=[entry(number, fold=number % 2) for number in range(6)],
    )
    data = find_cases(folder)
    assert data.layout == "msd"
    assert {case.id: case.attributes["fold"] for case in data.cases} == {f"c{n}": str(n % 2) for n in range(6)}


def test_parts_of_a_split_and_unlabelled_tests(folder):
    tests = [{"image": "scans/c5.nii.gz"}]
    write(folder, training=[entry(0), entry(1)], validation=[entry(2), entry(3)], testing=tests)
    data = find_cases(folder)
    parts = {"c0": "train", "c1": "train", "c2": "val", "c3": "val"}
    assert {case.id: case.attributes["split"] for case in data.cases} == parts
    assert "1 entry of datalist.json for testing without a label, not used here" in data.problems


def test_every_entry_is_used_or_named(folder):
    entries = [entry(0), entry(1, label="truth/none.nii.gz"), {"image": "scans/c2.nii.gz"}, entry(0), {"image": 3}]
    entries.append(entry(4, image=["scans/c4.nii.gz", "scans/c5.nii.gz"]))
    write(folder, training=entries)
    data = find_cases(folder)
    assert [case.id for case in data.cases] == ["c0"]
    text = "\n".join(data.problems)
    for words in ("none: datalist.json lists", "c2: ", "it has no label file", "c0 (again)", "entry 4", "c4: "):
        assert words in text


def test_cases_whose_files_have_one_name_are_told_apart(folder, save_nifti):
    one = np.ones((2, 3, 4), np.uint8)
    for case in ("p1", "p2"):
        for kind in ("ct", "seg"):
            save_nifti(folder / f"{case}/{kind}.nii.gz", one)
    write(folder, training=[{"image": f"{case}/ct.nii.gz", "label": f"{case}/seg.nii.gz"} for case in ("p1", "p2")])
    assert [case.id for case in find_cases(folder).cases] == ["p1", "p2"]


@pytest.mark.parametrize("fold", [-1, "a", 0.5, True])
def test_a_fold_that_is_no_number_is_refused(folder, fold):
    write(folder, training=[entry(0, fold=fold), entry(1, fold=0)])
    with pytest.raises(DataError, match="has the fold"):
        find_cases(folder)


def test_two_lists_in_a_folder_are_refused(folder):
    for name in ("a.json", "b.json"):
        write(folder, name, training=[entry(0)])
    with pytest.raises(DataError, match=r"several files that are a datalist: a\.json and b\.json"):
        find_cases(folder)


@pytest.mark.parametrize("where", ["list", "yaml", "relative"])
def test_files_may_lie_in_the_dataroot_that_is_named(folder, where):
    lists = folder.parent / "lists"
    lists.mkdir()
    root = "../set" if where == "relative" else str(folder)
    write(lists, training=[entry(number) for number in range(6)], **({} if where == "yaml" else {"dataroot": root}))
    if where == "yaml":
        (lists / "input.yaml").write_text(f"modality: MRI\ndatalist: ./datalist.json\ndataroot: {folder}\n")
    data = find_cases(lists)
    assert len(data.cases) == 6
    assert data.cases[0].channels[0].resolve() == folder / "scans" / "c0.nii.gz"
    assert any("its dataroot" in problem for problem in data.problems)


def test_a_list_whose_files_are_all_elsewhere_is_refused_once(folder):
    lists = folder.parent / "lists"
    lists.mkdir()
    write(lists, training=[entry(number) for number in range(6)])
    with pytest.raises(DataError, match=r"lists 6 images, and none of them is there: the first one is scans/c0"):
        find_cases(lists)
    write(lists, training=[entry(number) for number in range(6)], dataroot=str(folder))  # as the hint says
    assert len(find_cases(lists).cases) == 6
