"""Masks in a folder for each structure, told from a folder for each image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from sets.layout_files import files_of, touch

from medseg.commands.evaluate.pairing import find_references
from medseg.core.case import read_cases, write_cases
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases
from medseg.io.several_files import structure_masks


def labels_found(folder: Path) -> dict[str, list[str]]:
    """The mask files of each case, relative to the folder of masks."""
    return {
        case.id: [file.relative_to(folder / "masks").as_posix() for _, file in structure_masks(case.label)]
        for case in find_cases(folder).cases
    }


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        ("{part}/{case}.png", "masks/*/p4.png"),
        ("{part}/{case}_{part}.tif", "masks/*/p4.tif"),
        ("{part}/{part}_{case}.png", "masks/*/p4.png"),
        ("{case}/{part}.png", "masks/p4"),
    ],
)
def test_names_of_images_say_which_order_is_meant(tmp_path: Path, mask: str, shown: str) -> None:
    touch(tmp_path, *(f"images/{case}.png" for case in ("p4", "p5")))
    names = {case: [mask.format(case=case, part=part) for part in ("cup", "disc")] for case in ("p4", "p5")}
    touch(tmp_path, *(f"masks/{name}" for of_case in names.values() for name in of_case))
    touch(tmp_path, *(f"masks/overlays/{case}.png" for case in ("p4", "p5") if shown != "masks/p4"))
    assert labels_found(tmp_path) == names
    assert files_of(find_cases(tmp_path))["p4"] == ["images/p4.png", shown]


def test_images_named_alike_numbers_and_structures_that_are_not_drawn(tmp_path: Path) -> None:
    """`p4_1` is no mask of `p4`, and numbers of instances in a folder for each image are no images."""
    touch(tmp_path, *(f"images/{case}.png" for case in ("p4", "p4_1", "p41")))
    touch(
        tmp_path,
        "masks/cup/p4_1.png",
        "masks/disc/p4.png",
        "masks/disc/p4_1.png",
        "masks/cup/p41.png",
        "masks/disc/p41.png",
    )
    assert labels_found(tmp_path) == {
        "p4": ["disc/p4.png"],
        "p4_1": ["cup/p4_1.png", "disc/p4_1.png"],
        "p41": ["cup/p41.png", "disc/p41.png"],
    }
    touch(tmp_path / "other", *(f"images/{number}.png" for number in range(1, 5)))
    touch(tmp_path / "other", *(f"masks/{number}/{mask}.png" for number in range(1, 5) for mask in range(1, 3)))
    assert labels_found(tmp_path / "other")["2"] == ["2/1.png", "2/2.png"]


def test_what_is_not_clear_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/p{number}.png" for number in range(4)))
    touch(tmp_path, "masks/benign/p0.png", "masks/benign/p1.png", "masks/malignant/p2.png", "masks/malignant/p3.png")
    with pytest.raises(DataError, match=r"no image has a mask in two of them") as refused:
        find_cases(tmp_path)
    assert "masks/*/p0.png" in str(refused.value)
    table = tmp_path / "table.csv"
    table.write_text("id,image,label\n" + "".join(f"p{n},images/p{n}.png,masks/*/p{n}.png\n" for n in range(4)))
    cases = find_cases(tmp_path, naming=Naming(table=table)).cases
    names = [name for case in cases for name, _ in structure_masks(case.label)]
    assert names == ["benign", "benign", "malignant", "malignant"]
    touch(tmp_path, "masks/benign/p2.png", "masks/benign/p3.png")
    touch(tmp_path, "masks/malignant/p0.png", "masks/malignant/p0.tif")
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["p1", "p2", "p3"]
    assert any("p0" in problem and "is not clear" in problem for problem in data.problems)


def test_folders_named_after_images_are_one_for_each_image(tmp_path: Path) -> None:
    """Numbers of objects may be names of images, too: of thirty numbered images twelve have masks of their objects."""
    touch(tmp_path, *(f"images/{image:03}.png" for image in range(1, 31)))
    objects = {image: range(1, 26 + image % 4) for image in range(1, 13)}
    touch(tmp_path, *(f"masks/{image:03}/{number:03}.png" for image in objects for number in objects[image]))
    found = labels_found(tmp_path)
    assert found == {f"{image:03}": [f"{image:03}/{number:03}.png" for number in objects[image]] for image in objects}


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([f"{folder}/{image}.png" for folder in (1, 2, 3) for image in (1, 2, 3)], "both named after images"),
        (["train/1.png", "train/2.png", "train/3.png"], "a single folder of masks"),
        (["train/1.png", "train/2.png", "val/2.png", "val/1.png"], "named after parts of a split"),
        (["here/1.png", "here/2.png", "here/3.png", "there/3.png", "there/4.png", "there/5.png"], "1 of 5 images have"),
        (["here/1.png", "here/2.png", "there/3.png"], "no image has a mask in two"),
    ],
)
@pytest.mark.parametrize("channel", ["", "_0000"])
def test_folders_that_may_be_no_structures_are_refused(
    tmp_path: Path, masks: list[str], expected: str, channel: str
) -> None:
    images = sorted({Path(mask).stem for mask in masks})
    touch(tmp_path, *(f"images/{image}{channel}.png" for image in images), *(f"masks/{mask}" for mask in masks))
    with pytest.raises(DataError, match=expected) as refused:
        find_cases(tmp_path)
    assert "masks/*/1.png" in str(refused.value)
    with pytest.raises(DataError, match=expected):
        find_references(tmp_path / "masks")


def test_structures_that_are_numbered_and_not_always_drawn_are_no_objects(tmp_path: Path) -> None:
    for image in range(1, 5):
        (tmp_path / "images").mkdir(exist_ok=True)
        pillow.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "images" / f"p{image}.png")
        for grade in (3, 4) if image % 2 else (3,):
            folder = tmp_path / "masks" / f"grade_{grade}"
            folder.mkdir(parents=True, exist_ok=True)
            mask = np.zeros((8, 8), np.uint8)
            mask[grade] = 255
            pillow.fromarray(mask).save(folder / f"p{image}.png")
    labels = find_data(tmp_path, DataOptions()).labels
    assert labels is not None
    assert labels.structures == {"grade_3": 1, "grade_4": 2}


def test_pictures_are_read_kept_in_a_table_and_found_as_references(tmp_path: Path) -> None:
    for number in range(3):
        for place, brightness in (("images", 90), ("masks/disc", 1), ("masks/cup", 255)):
            mask = np.full((8, 8), brightness if place == "images" else 0, np.uint8)
            mask[number : number + 2] = brightness if place != "masks/cup" else 0
            mask[6:] = brightness if place == "masks/cup" else mask[6:]
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            pillow.fromarray(mask).save(tmp_path / place / f"p{number}.png")
    data = find_data(tmp_path, DataOptions())
    assert data.labels is not None
    assert data.labels.structures == {"cup": 1, "disc": 2}
    assert read_label(data.cases[1].label, data.reading).array[0, 0, :, 0].tolist() == [0, 2, 2, 0, 0, 0, 1, 1]
    write_cases(tmp_path / "kept.csv", data.cases, tmp_path)
    assert [case.label for case in read_cases(tmp_path / "kept.csv", tmp_path)] == [case.label for case in data.cases]
    assert find_references(tmp_path / "masks").files == {case.id: case.label for case in data.cases}
