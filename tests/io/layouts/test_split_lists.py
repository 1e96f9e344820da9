"""Lists of a split beside a data set: what they name, and what they do not."""

from pathlib import Path

import pytest
from sets.layout_files import touch

from medseg.io.layouts.find import read_layout
from medseg.planning.published import published_split


def pairs(folder: Path, *names: str) -> Path:
    touch(folder, *(f"images/{name}.png" for name in names), *(f"masks/{name}.png" for name in names))
    return folder


def split_of(folder: Path) -> dict[str, str]:
    data = read_layout(folder)
    assert data is not None
    return {case.id: case.attributes.get("split", "") for case in sorted(data.cases, key=lambda case: case.id)}


@pytest.mark.parametrize(
    ("suffix", "line"),
    [
        ("txt", "{}"),
        ("txt", "{}.png"),
        ("lst", "images/{0}.png masks/{0}.png"),
        ("txt", r"C:\data\images\{0}.png C:\data\masks\{0}.png"),
        ("csv", "3,images/{0}.png,masks/{0}.png"),
        ("csv", "{},a remark"),
    ],
)
@pytest.mark.parametrize("inner", ["", "splits"])
def test_a_line_names_a_case_by_its_id_or_its_files(tmp_path: Path, suffix: str, line: str, inner: str) -> None:
    names = ["a 1", "b", "3", "d"]
    folder = pairs(tmp_path, *names)
    (folder / inner).mkdir(exist_ok=True)
    for part, of_part in (("train", names[:2]), ("val", names[2:3]), ("test", names[3:])):
        heading = ["image,mask"] if suffix == "csv" else []
        text = "\n".join([*heading, *(line.format(name) for name in of_part)])
        (folder / inner / f"{part}.{suffix}").write_text(text)
    assert split_of(folder) == {"3": "val", "a 1": "train", "b": "train", "d": "test"}
    data = read_layout(folder)
    assert data is not None
    assert data.problems == [f"the split is that of test.{suffix}, train.{suffix}, val.{suffix}"]
    split = published_split(data.cases)
    assert split is not None
    assert split.test == {"d"}


def test_what_lists_leave_out_and_what_they_name_in_vain(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / "train.txt").write_text("a\n# b\ngone\n")
    (folder / "val.txt").write_text("b\n")
    data = read_layout(folder)
    assert data is not None
    assert split_of(folder) == {"a": "train", "b": "val"}
    assert data.problems[1:] == [
        "train.txt: 1 line without a case of that name (gone)",
        "1 case in no list of train.txt, val.txt, left out",
    ]


@pytest.mark.parametrize("files", [{"train.txt": "a\nb\n"}, {"train.txt": "x\n", "val.txt": "y\n"}, {"val.txt": "a\n"}])
def test_lists_that_divide_nothing_are_no_split(tmp_path: Path, files: dict[str, str]) -> None:
    folder = pairs(tmp_path, "a", "b")
    for name, text in files.items():
        (folder / name).write_text(text)
    assert split_of(folder) == {"a": "", "b": ""}
