"""Lists of a split beside a data set: what they name, and what they do not."""

from pathlib import Path

import pytest
from sets.layout_files import touch

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases, read_layout
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


@pytest.mark.parametrize("names", ["train val test", "training_list dev testing", "trainaug val2012 test_ids"])
def test_the_name_of_a_list_says_its_part(tmp_path: Path, names: str) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    for name, case in zip(names.split(), "abc", strict=True):
        (folder / f"{name}.txt").write_text(case)
    assert split_of(folder) == {"a": "train", "b": "val", "c": "test"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("split.json", '{"train": ["a.png"], "valid": ["b"], "test": [{"image": "images/c.png"}]}'),
        ("dataset_splits.json", '{"training": [["a.png", "a.png"]], "validation": ["b"], "testing": ["c"], "seed": 3}'),
        ("split.csv", "filename,split\na.png,Train\nb.png,val\nc.png,test\n"),
        ("split.csv", "id,split\na,Training\nb,Validation set\nc,testing\n"),
        ("splits/data_split.tsv", "set\tn\tname\ntrain\t0\ta\nval\t1\tb\ntest\t2\tc\n"),
    ],
)
def test_one_file_divides_all_cases(tmp_path: Path, name: str, text: str) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    assert split_of(folder) == {"a": "train", "b": "val", "c": "test"}
    assert read_layout(folder).problems == [f"the split is that of {Path(name).name}"]  # type: ignore[union-attr]


def test_a_table_may_name_two_parts_of_a_case_and_its_first_row_is_no_heading(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / "split.csv").write_text("id,split\ngone,train+val\na,train+val\nb,train+val\nc,test\n")
    assert split_of(folder) == {"a": "train+val", "b": "train+val", "c": "test"}
    data = read_layout(folder)
    assert data is not None
    assert data.problems == ["the split is that of split.csv", "split.csv: 1 line without a case of that name (gone)"]


def test_a_table_with_a_word_that_is_no_part_is_refused_by_the_planner(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / "split.csv").write_text("name,split\na,train\nb,val\nc,holdout\n")
    data = read_layout(folder)
    assert data is not None
    with pytest.raises(DataError, match="'holdout', which is none"):
        published_split(data.cases)


def test_a_table_that_names_one_part_alone_is_said_not_to_be_used(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / "split.csv").write_text("name,split\na,train\nb,train\nc,holdout\n")
    data = read_layout(folder)
    assert data is not None
    assert not any("split" in case.attributes for case in data.cases)
    assert data.problems == [
        "split.csv is not used as a split, and no case is kept out: 'holdout' is none of train, val, test, trainval"
    ]


def test_a_list_for_validation_alone_leaves_the_others_to_training(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / "valid.txt").write_text("b.png\n")  # as fast.ai's edition of CamVid
    assert split_of(folder) == {"a": "train", "b": "val", "c": "train"}
    data = read_layout(folder)
    assert data is not None
    assert data.problems == ["the split is that of valid.txt", "2 cases in no list of valid.txt, to train on"]


def test_a_list_for_training_alone_is_named_as_it_says_nothing_of_the_rest(tmp_path: Path) -> None:
    folder = pairs(tmp_path, "a", "b", "c")
    (folder / "train.txt").write_text("a\nb\n")
    assert split_of(folder) == {"a": "", "b": "", "c": ""}
    data = read_layout(folder)
    assert data is not None
    assert data.problems == ["train.txt is not used as a split: it names 2 of 3 cases, and no list the rest"]


@pytest.mark.parametrize("files", [{"train.txt": "a\nb\n"}, {"train.txt": "x\n", "val.txt": "y\n"}, {"val.txt": "x\n"}])
def test_lists_that_divide_nothing_are_no_split(tmp_path: Path, files: dict[str, str]) -> None:
    folder = pairs(tmp_path, "a", "b")
    for name, text in files.items():
        (folder / name).write_text(text)
    assert split_of(folder) == {"a": "", "b": ""}


@pytest.mark.parametrize("fold", [False, True])
def test_a_table_is_divided_by_lists_of_all_parts_alone_and_not_where_it_numbers_folds(
    tmp_path: Path, fold: bool
) -> None:
    touch(tmp_path, *(f"{kind}/{name}.nii" for kind in ("i", "l") for name in "abc"))
    rows = [f"{name},i/{name}.nii,l/{name}.nii" + ",1" * fold for name in "abc"]
    (tmp_path / "cases.csv").write_text("\n".join(["id,image,label" + ",fold" * fold, *rows]) + "\n")
    (tmp_path / "test.txt").write_text("c\n")
    data = find_cases(tmp_path)
    assert not any("split" in case.attributes for case in data.cases)
    assert any("test.txt is not used as a split" in text for text in data.problems)
    (tmp_path / "train.txt").write_text("a\nb\n")
    divided = [case.attributes.get("split") for case in find_cases(tmp_path).cases]
    assert divided == ([None] * 3 if fold else ["train", "train", "test"])
