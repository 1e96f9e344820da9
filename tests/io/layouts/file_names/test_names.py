"""Suffixes and names: what is an image, which case and which channel."""

from pathlib import Path

import pytest

from medseg.io.formats.table import answer_suffix, is_image, split_suffix
from medseg.io.layouts.file_names.names import channel_files, group_by_case, images_by_stem


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("a/case.nii.gz", "case", ".nii.gz"),
        ("case.v2.NII.GZ", "case.v2", ".nii.gz"),
        ("case.nii", "case", ".nii"),
        ("SC-01.dcm.png", "SC-01.dcm", ".png"),
        ("case.tar.gz", "case.tar", ".gz"),
        ("case", "case", ""),
    ],
)
def test_split_suffix(name, stem, suffix):
    assert split_suffix(Path(name)) == (stem, suffix)


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.JPG", ".png"), ("a.jpeg", ".png"), ("a.bmp", ".bmp"), ("a.nii.gz", ".nii.gz")]
)
def test_answers_are_lossless(name, suffix):
    assert answer_suffix(Path(name)) == suffix


def test_hidden_and_foreign_files_are_no_images():
    names = ["a.nii.gz", "._a.nii.gz", ".a.png", "dataset.json", "a.gz", "b.PNG"]
    assert [name for name in names if is_image(Path(name))] == ["a.nii.gz", "b.PNG"]


def test_two_files_of_one_name_are_left_out(tmp_path):
    for name in ("a.png", "a.nii.gz", "b.png", "._b.png", "notes.txt"):
        (tmp_path / name).touch()
    files, problems = images_by_stem(tmp_path)
    assert list(files) == ["b"]
    assert list(problems) == ["a"]
    assert "a.nii.gz and a.png" in problems["a"]


def resolve(names: list[str], channels: int, known: tuple[str, ...] = ()):
    files, problems = channel_files(group_by_case({name: Path(name) for name in names}, known), channels)
    return {case: [path.name for path in paths] for case, paths in files.items()}, problems


def test_channels_come_in_their_order():
    assert resolve(["a_0001", "b_0000", "a_0000", "b_0001"], 2) == (
        {"a": ["a_0000", "a_0001"], "b": ["b_0000", "b_0001"]},
        {},
    )


def test_a_file_without_number_holds_all_channels():
    assert resolve(["a", "b_0000", "b_0001"], 2)[0] == {"a": ["a"], "b": ["b_0000", "b_0001"]}


def test_channel_0_alone_holds_all_channels_if_no_case_has_another():
    assert resolve(["a_0000", "b_0000"], 3) == ({"a": ["a_0000"], "b": ["b_0000"]}, {})
    files, problems = resolve(["a_0000", "b_0000", "b_0001"], 2)
    assert list(files) == ["b"]
    assert "no a_0001" in problems["a"]


def test_known_names_are_cases_whatever_they_end_in():
    assert resolve(["a_0000", "a_0001"], 1, known=("a_0000", "a_0001"))[0] == {
        "a_0000": ["a_0000"],
        "a_0001": ["a_0001"],
    }


def test_missing_superfluous_and_contradicting_files_are_named():
    files, problems = resolve(["a_0001", "b", "b_0000", "c_0000", "c_0001", "c_0002", "d_0000", "d_0001"], 2)
    assert list(files) == ["d"]
    assert "no a_0000" in problems["a"]
    assert "b and b_0000 claim to be one case" in problems["b"]
    assert "c_0002 is beyond what was expected: 2 channels" in problems["c"]
