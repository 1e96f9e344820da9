"""What is said of a folder that is no data set."""

import json
from pathlib import Path

import pytest
from sets.layout_files import touch

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_cases(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("inner", "files"),
    [
        ("VOCdevkit/VOC2012", ["JPEGImages/a.jpg", "SegmentationClass/a.png"]),
        ("data", ["train/image/0.png", "train/label/0.png"]),
        ("out", ["a_json/img.png", "b_json/img.png"]),
        ("raw/v1", ["images/a.png"]),
        ("stage1_train", ["id0/images/id0.png", "id1/images/id1.png"]),
    ],
)
def test_a_data_set_some_folders_further_inside_is_named(tmp_path: Path, inner: str, files: list[str]) -> None:
    touch(tmp_path, *(f"{inner}/{file}" for file in files))
    assert f"Perhaps {tmp_path / inner} was meant. " in refusal(tmp_path)


def test_several_are_named_and_what_lies_inside_them_is_not(tmp_path: Path) -> None:
    touch(tmp_path, *(f"task{number}/images/images/a.png" for number in range(5)))
    message = refusal(tmp_path)
    assert " or ".join(str(tmp_path / f"task{number}") for number in range(3)) + " and others was meant" in message
    assert "images/images" not in message


def test_drawings_of_labelme_lead_to_the_command_that_converts_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
    message = refusal(tmp_path)
    assert f"`medseg labelme {tmp_path} DATASET`" in message
    assert "medseg predict" not in message


@pytest.mark.parametrize("text", ["{}", "[1]", "{"])
def test_other_json_beside_images_are_no_drawings(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "a.json").write_text(text)
    assert "medseg labelme" not in refusal(tmp_path)
