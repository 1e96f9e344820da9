"""Lists of cases name files as Windows does, name one label for two images, or pair images with another's label."""

from pathlib import Path

import pytest
from sets.layout_files import files_of, touch, write_json

from medseg.core.names import declared_path
from medseg.io.layouts.find import find_cases


@pytest.fixture
def files(tmp_path: Path) -> Path:
    touch(tmp_path, *(f"{kind}/{name}.nii" for name in "abc" for kind in ("imagesTr", "labelsTr")))
    return tmp_path


def decathlon(folder: Path, pairs: list[tuple[str, str]]) -> None:
    training = [{"image": image, "label": label} for image, label in pairs]
    write_json(folder, modality={"0": "MR"}, labels={"0": "background", "1": "liver"}, training=training)


def test_a_name_is_looked_for_as_it_stands_before_backslashes_are_folders(tmp_path):
    touch(tmp_path, "a\\b.nii", "a/b.nii", "c/d.nii")
    assert declared_path("a\\b.nii", tmp_path) == tmp_path / "a\\b.nii"
    assert declared_path(".\\c\\d.nii", tmp_path / "none", tmp_path) == tmp_path / "c" / "d.nii"
    assert declared_path("c\\missing.nii", tmp_path, tmp_path / "c") == tmp_path / "c" / "missing.nii"


EXPECTED = {name: [f"imagesTr/{name}.nii", f"labelsTr/{name}.nii"] for name in "abc"}


def test_lists_written_on_windows_are_read(files):
    decathlon(files, [(f".\\imagesTr\\{name}.nii", f".\\labelsTr\\{name}.nii") for name in "abc"])
    assert files_of(find_cases(files)) == EXPECTED


def test_tables_written_on_windows_are_read(files):
    rows = [f"imagesTr\\{name}.nii,labelsTr\\{name}.nii" for name in "abc"]
    (files / "cases.csv").write_text("\n".join(["scan,label", *rows]))
    assert files_of(find_cases(files)) == EXPECTED


def test_datalists_written_on_windows_are_read(files):
    entries = [f'{{"image": "imagesTr\\\\{name}.nii", "label": "labelsTr\\\\{name}.nii"}}' for name in "abc"]
    (files / "list.json").write_text(f'{{"training": [{", ".join(entries)}]}}')
    assert files_of(find_cases(files)) == EXPECTED


@pytest.mark.parametrize("layout", ["msd", "datalist", "table"])
def test_lists_whose_labels_stand_in_another_order_are_told(files, layout):
    pairs = [(f"imagesTr/{image}.nii", f"labelsTr/{label}.nii") for image, label in zip("abc", "bca", strict=True)]
    if layout == "msd":
        decathlon(files, pairs)
    elif layout == "datalist":
        entries = ", ".join(f'{{"image": "{image}", "label": "{label}"}}' for image, label in pairs)
        (files / "list.json").write_text(f'{{"training": [{entries}]}}')
    else:
        (files / "cases.csv").write_text("\n".join(["scan,label", *map(",".join, pairs)]))
    (note,) = [note for note in find_cases(files).problems if "another image's name" in note]
    assert note.startswith("3 images paired with the label of another image's name, such as ")


@pytest.mark.parametrize(
    "pairs",
    [
        [(f"imagesTr/{name}.nii", f"labelsTr/{name}.nii") for name in "abc"],
        [("imagesTr/a.nii", "labelsTr/b.nii")],  # no image b: the names are of two kinds
    ],
)
def test_other_pairs_are_not_told(files, pairs):
    decathlon(files, pairs)
    assert not [note for note in find_cases(files).problems if "another image's name" in note]


def test_one_label_for_two_images_is_told_with_both_images(files):
    decathlon(files, [("imagesTr/a.nii", "labelsTr/a.nii"), ("imagesTr/b.nii", "labelsTr/a.nii")])
    data = find_cases(files)
    assert [case.id for case in data.cases] == ["a"]
    assert data.problems[0].startswith("a (again): dataset.json lists a.nii with a.nii, and again with b.nii;")
    decathlon(files, [("imagesTr/a.nii", "labelsTr/a.nii")] * 2)
    assert find_cases(files).problems[0] == "a (again): dataset.json lists it twice; the first one counts"
