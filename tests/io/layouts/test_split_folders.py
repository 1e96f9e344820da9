"""Folders for the parts of a split, in every arrangement, and what is odd in them."""

import pytest
from sets.layout_files import files_of, touch

from medseg.core.errors import DataError
from medseg.io.layouts.dataset import LeftOut
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.folder_of_scans import scans_of_folder

ARRANGEMENTS = {
    "camvid": ("{part}/{case}.png", "{part}annot/{case}.png"),
    "kaggle": ("{part}/{case}.png", "{part}_labels/{case}_L.png"),
    "beside": ("images_{part}/{case}.png", "masks_{part}/{case}.png"),
    "inside": ("{part}/images/{case}.png", "{part}/masks/{case}.png"),
    "below": ("images/{part}/{case}.jpg", "annotations/{part}/{case}.png"),
    "flat": ("{part}/{case}.png", "{part}/{case}_mask.png"),
    "folders": ("{part}/{case}/image.png", "{part}/{case}/mask.png"),
}
YEARS = {"train": "train2017", "val": "val2017", "test": "test2017"}
CASES = {"train": ["a1", "a2", "a3"], "val": ["b1", "b2"], "test": ["c1", "c2"]}


def make(folder, arrangement, cases=CASES, names=None):
    """Make empty files of an arrangement; `names` gives parts other names."""
    for part, ids in cases.items():
        for pattern in ARRANGEMENTS[arrangement]:
            touch(folder, *(pattern.format(part=(names or {}).get(part, part), case=case) for case in ids))


def parts_of(data) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for case in data.cases:
        parts.setdefault(case.attributes["split"], []).append(case.id)
    return parts


def left_out(data) -> list[str]:
    return [problem.id for problem in data.problems if isinstance(problem, LeftOut)]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize(
    "names", [{}, {"train": "training", "val": "validation"}, {"train": "Train", "val": "valid"}, YEARS]
)
def test_every_arrangement_is_read(tmp_path, arrangement, names):
    make(tmp_path, arrangement, names=names)
    data = find_cases(tmp_path)
    assert (data.layout, parts_of(data)) == ("splits", CASES)
    image, label = ([pattern.format(part=names.get("val", "val"), case="b1")] for pattern in ARRANGEMENTS[arrangement])
    assert files_of(data)["b1"] == image + label


@pytest.mark.parametrize("arrangement", ["inside", "below", "flat", "folders"])
def test_a_word_for_a_set_may_stand_beside_that_of_the_part(tmp_path, arrangement):
    make(tmp_path, arrangement, names={"train": "training_set", "val": "ValData", "test": "TestDataset"})
    assert parts_of(find_cases(tmp_path)) == CASES


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_test_part_is_what_is_segmented(tmp_path, arrangement):
    make(tmp_path, arrangement)
    files, problems = scans_of_folder(tmp_path, ("image",))
    assert (sorted(files), problems) == (CASES["test"], {})


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_ids_that_occur_in_two_parts_are_told_apart(tmp_path, arrangement):
    make(tmp_path, arrangement, {"train": ["1", "2", "3"], "val": ["1", "4"]})
    assert parts_of(find_cases(tmp_path)) == {"train": ["train_1", "train_2", "train_3"], "val": ["val_1", "val_4"]}


@pytest.mark.parametrize("arrangement", [name for name in ARRANGEMENTS if name != "flat"])
def test_a_missing_mask_is_named(tmp_path, arrangement):
    make(tmp_path, arrangement)
    (tmp_path / ARRANGEMENTS[arrangement][1].format(part="train", case="a2")).unlink()
    data = find_cases(tmp_path)
    assert parts_of(data)["train"] == ["a1", "a3"]
    assert left_out(data) == ["a2"]


@pytest.mark.parametrize("arrangement", ["camvid", "beside", "inside", "below"])
def test_an_extra_mask_is_named_and_other_files_do_not_disturb(tmp_path, arrangement):
    make(tmp_path, arrangement)
    touch(tmp_path, "readme.txt", "test.txt", ARRANGEMENTS[arrangement][1].format(part="val", case="x9"))
    data = find_cases(tmp_path)
    assert parts_of(data) == CASES
    assert left_out(data) == ["x9"]


@pytest.mark.parametrize("arrangement", ["camvid", "kaggle", "inside", "below", "folders"])
def test_a_test_part_without_labels_is_not_used_and_segmented(tmp_path, arrangement):
    make(tmp_path, arrangement, {part: CASES[part] for part in ("train", "val")})
    touch(tmp_path, *(ARRANGEMENTS[arrangement][0].format(part="test", case=case) for case in CASES["test"]))
    data = find_cases(tmp_path)
    assert parts_of(data) == {part: CASES[part] for part in ("train", "val")}
    assert left_out(data) == []
    assert any("the test part" in problem and "not used" in problem for problem in data.problems)
    assert sorted(scans_of_folder(tmp_path, ("image",))[0]) == CASES["test"]


def test_a_train_folder_alone_is_read(tmp_path):
    make(tmp_path, "inside", {"train": CASES["train"]})
    assert parts_of(find_cases(tmp_path)) == {"train": CASES["train"]}


def test_folders_that_may_be_the_same_part_are_refused(tmp_path):
    make(tmp_path, "camvid")
    make(tmp_path, "camvid", {"train": ["z"]}, {"train": "training"})
    with pytest.raises(DataError, match=r"has train/ and training/: which is meant for train"):
        find_cases(tmp_path)


def test_other_layouts_stay_what_they_were(tmp_path):
    touch(tmp_path / "a", *(f"{kind}/{case}.nii.gz" for kind in ("imagesTr", "labelsTr") for case in "xy"))
    touch(tmp_path / "a", "imagesTs/z.nii.gz")
    assert find_cases(tmp_path / "a").layout == "pairs"
    touch(tmp_path / "b", *(f"{case}/{kind}.nii.gz" for kind in ("t1", "seg") for case in ("contrast", "trial")))
    assert find_cases(tmp_path / "b").layout == "folders"


def test_labels_of_the_test_images_make_them_a_test_set(tmp_path):
    touch(tmp_path, *(f"{kind}Tr/{case}.nii.gz" for kind in ("images", "labels") for case in "xy"))
    touch(tmp_path, "imagesTs/z.nii.gz", "labelsTs/z.nii.gz")
    assert parts_of(find_cases(tmp_path)) == {"train": ["x", "y"], "test": ["z"]}
