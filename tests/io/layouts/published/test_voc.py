"""Pascal VOC's layout."""

import pytest
from sets.layout_files import files_of, touch

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases
from medseg.planning.published import published_split


@pytest.fixture
def voc(tmp_path):
    """Three images, of which two have masks."""
    touch(tmp_path, *(f"JPEGImages/{name}.jpg" for name in "abc"), *(f"SegmentationClass/{name}.png" for name in "ab"))
    return tmp_path


def test_images_and_masks_of_the_same_name(voc):
    data = find_cases(voc)
    assert (data.layout, data.labels, data.ignore) == ("voc", None, 255)
    assert files_of(data) == {name: [f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png"] for name in "ab"}
    assert data.problems == ["1 image of 3 without a mask in SegmentationClass, left out"]


@pytest.mark.parametrize("name", ["class_names.txt", "labels.txt"])
def test_structures_are_numbered_by_their_line(voc, name):
    (voc / name).write_text("__ignore__\n_background_\nliver\n\nspleen\n")
    labels = find_cases(voc).labels
    assert (labels.structures, labels.ignore) == ({"liver": 1, "spleen": 2}, 255)


def test_a_list_without_background_starts_at_1_and_says_so(voc):
    (voc / "class_names.txt").write_text("liver\nspleen\n")
    data = find_cases(voc)
    assert data.labels.structures == {"liver": 1, "spleen": 2}
    assert "does not list a background, so its first name, liver, is taken as value 1" in data.problems[-1]


def test_image_sets_choose_the_cases_and_stay_known(voc):
    touch(voc, "SegmentationClass/c.png")
    sets = voc / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\n")
    (sets / "val.txt").write_text("b\n")
    (sets / "trainval.txt").write_text("a\nb\n")
    data = find_cases(voc)
    assert [(case.id, case.attributes) for case in data.cases] == [
        ("a", {"image_set": "train"}),
        ("b", {"image_set": "val"}),
    ]
    assert data.problems == ["1 mask in no list of ImageSets/Segmentation, left out"]


@pytest.mark.parametrize("line", ["left eye", "left eye 1", "/JPEGImages/left eye.jpg /SegmentationClass/left eye.png"])
def test_lines_of_lists_name_cases_with_spaces_files_or_numbers(voc, line):
    touch(voc, "JPEGImages/left eye.jpg", "SegmentationClass/left eye.png", "ImageSets/Segmentation/train.txt")
    (voc / "ImageSets/Segmentation/train.txt").write_text(f"a 1\n{line}\nb -1\n")
    data = find_cases(voc)
    assert sorted(case.id for case in data.cases) == ["a", "b", "left eye"]
    assert not any("without a case" in problem for problem in data.problems)


def test_lists_that_name_no_case_here_choose_none(voc):
    touch(voc, "ImageSets/Segmentation/train.txt")
    (voc / "ImageSets/Segmentation/train.txt").write_text("other\n")
    with pytest.raises(DataError, match="1 line without a case of that name"):
        find_cases(voc)


def test_lines_that_name_no_case_are_named(voc):
    touch(voc, "ImageSets/Segmentation/train.txt")
    (voc / "ImageSets/Segmentation/train.txt").write_text("a\ngone\n")
    expected = "ImageSets/Segmentation/train.txt: 1 line without a case of that name (gone)"
    assert expected in find_cases(voc).problems


def test_masks_where_labelme_puts_them(tmp_path):
    touch(tmp_path, "JPEGImages/a.jpg", "SegmentationClass/a.npy", "SegmentationClassPNG/a.png")
    assert files_of(find_cases(tmp_path)) == {"a": ["JPEGImages/a.jpg", "SegmentationClassPNG/a.png"]}


def test_too_many_classes_for_the_ignore_value(voc):
    (voc / "labels.txt").write_text("\n".join(f"class {number}" for number in range(255)))
    with pytest.raises(DataError, match="lists 255 structures; masks hold 254 beside the ignore value"):
        find_cases(voc)


def test_lists_of_other_names_are_parts_too_and_what_names_no_part_is_told(voc):
    touch(voc, "SegmentationClass/c.png", "JPEGImages/d.jpg", "SegmentationClass/d.png")
    sets = voc / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    for name, ids in {"train2012": "a", "train_aug": "a b", "val": "c", "test": "d", "small": "a"}.items():
        (sets / f"{name}.txt").write_text("\n".join(ids.split()))
    data = find_cases(voc)
    split = published_split(data.cases)
    assert (split.train, split.val, split.test) == ({"a", "b"}, {"c"}, {"d"})
    assert data.problems == [
        "ImageSets/Segmentation: small.txt not used, as no part of a split (train, val, test) has such a name"
    ]
