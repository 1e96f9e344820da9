"""COCO's annotations: worked examples of outlines and run-length codes, and files that cannot be trusted."""

import json
from pathlib import Path

import numpy as np
import pytest
from sets.coco_files import CATEGORIES, annotation, box, image, write_coco

from medseg.core.errors import DataError
from medseg.io.annotations.coco import categories_of, content_of, read_coco_file
from medseg.io.annotations.coco_objects import decode_mask, read_objects
from medseg.io.formats.table import is_dicom
from medseg.io.images import read_label
from medseg.io.several_files import files_of
from medseg.plans.sections.reading import Reading

NAMES = Reading(segments={"cell": 1, "nucleus": 3})


@pytest.fixture
def label_of(tmp_path):
    """Return a function that writes annotations of one image of 4 x 5 pixels and returns the path of its label."""

    def write(*annotations, images=None, categories=CATEGORIES):
        write_coco(tmp_path / "a.json", images or [image(7, "a.png")], list(annotations), categories)
        return tmp_path / "a.json#image-7"

    return write


MASK = [[1, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "counts",
    [
        [0, 1, 4, 2, 2, 2, 2, 2, 5],
        "0141N0003",  # what pycocotools 2.0.11 writes for this mask
        [0.0, 1.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0, 5.0],
    ],
)
def test_run_length_codes_go_down_the_columns(label_of, counts):
    path = label_of(annotation(7, {"size": [4, 5], "counts": counts}))
    np.testing.assert_array_equal(read_label(path, NAMES).array[0, 0], MASK)


def test_a_mask_of_nothing_and_one_of_everything():
    assert not decode_mask({"size": [2, 3], "counts": [6]}, (2, 3), "it").any()
    assert decode_mask({"size": [2, 3], "counts": [0, 6]}, (2, 3), "it").all()


def test_a_compressed_code_of_many_runs():
    """Runs of 1000 and 40, whose differences have a sign and several characters."""
    runs = [1000, 40] * 50
    text = ""
    for index, run in enumerate(runs):
        value = run - (runs[index - 2] if index > 2 else 0)
        while True:  # rleToString of maskApi.c
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr(bits + 0x20 * more + 48)
            if not more:
                break
    shape = (520, 100)
    expected = decode_mask({"size": [*shape], "counts": runs}, shape, "it")
    np.testing.assert_array_equal(decode_mask({"size": [*shape], "counts": text}, shape, "it"), expected)
    assert expected.sum() == 50 * 40


def test_polygons_of_an_object_are_united_and_flat_lists_are_one_polygon(label_of):
    path = label_of(
        annotation(7, box(0, 0, 2, 1) + box(1, 0, 3, 1)),
        annotation(7, box(0, 2, 2, 4)[0], category=3, id=2),
    )
    np.testing.assert_array_equal(
        read_label(path, NAMES).array[0, 0], [[1, 1, 1, 0, 0], [0] * 5, [3, 3, 0, 0, 0], [3, 3, 0, 0, 0]]
    )
    assert categories_of(path) == ["cell", "nucleus"]


def test_polygons_may_reach_beyond_the_image(label_of):
    path = label_of(annotation(7, box(-100, 3, 100, 100)))
    assert read_label(path, NAMES).array[0, 0].tolist() == [[0] * 5, [0] * 5, [0] * 5, [1] * 5]


def test_overlaps_of_categories_are_refused_or_settled_by_the_reading(label_of):
    path = label_of(annotation(7, box(0, 0, 3, 1)), annotation(7, box(2, 0, 4, 1), category=3, id=2))
    with pytest.raises(DataError, match=r"cell and nucleus overlap in 1 voxel.*"):
        read_label(path, NAMES)
    later = NAMES.model_copy(update={"overlaps": "later"})
    assert read_label(path, later).array[0, 0, 0].tolist() == [1, 1, 3, 3, 0]
    regions = NAMES.model_copy(update={"overlaps": {"1+3": 4}})
    assert read_label(path, regions).array[0, 0, 0].tolist() == [1, 1, 4, 3, 0]


def test_objects_of_one_category_may_overlap(label_of):
    path = label_of(annotation(7, box(0, 0, 3, 1)), annotation(7, box(2, 0, 4, 1), id=2))
    assert read_label(path, NAMES).array[0, 0, 0].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("drawn", [[], None, [[1, 1, 3, 3]], [[1, 1]], [[]], box(1, 1, 1, 3)])
def test_annotations_without_an_area_are_named(label_of, drawn):
    label = read_label(label_of(annotation(7, drawn, id=12), annotation(7, box(0, 0, 1, 1))), NAMES)
    assert label.array.sum() == 1
    assert [note.split(": ")[1] for note in label.notes] == [
        "annotation 12 (cell) covers no pixel's centre and is left out."
    ]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (annotation(7, [], bbox=[0, 0, 2, 2]), "has a box and no outline"),
        (annotation(7, box(0, 0, 1, 1), category=2), "of the category 2, which the file does not list"),
        (annotation(7, box(0, 0, 1, 1), category=None), "of the category None"),
        (annotation(7, {"size": [5, 4], "counts": [20]}), r"mask of the size \[5, 4\]"),
        (annotation(7, {"size": [4, 5], "counts": [19]}), "run-length code that is damaged"),
        (annotation(7, {"size": [4, 5], "counts": [10**30, -(10**30) + 20]}), "damaged"),
        (annotation(7, {"size": [4, 5], "counts": ["20"]}), "damaged"),
        (annotation(7, {"size": [4, 5], "counts": "o" * 50}), "damaged"),
        (annotation(7, {"size": [4, 5], "counts": "é"}), "damaged"),
        (annotation(7, {"size": [4, 5], "counts": None}), "damaged"),
        (annotation(7, {"size": "4x5", "counts": [20]}), "mask of the size 4x5"),
        (annotation(7, {}), "mask of the size None"),
        (annotation(7, [[1, 2, 3, 4, 5]]), "no list of coordinates"),
        (annotation(7, [[1, 2, 3, 4, float("nan"), 5]]), "no list of coordinates"),
        (annotation(7, [[1, 2, 3, 4, 1e300, 5]]), "no list of coordinates"),
        (annotation(7, [["a", "b"]]), "no list of coordinates"),
        (annotation(7, [{"x": 1}]), "no list of coordinates"),
        (annotation(7, "polygon"), "neither polygons nor a run-length code"),
        (annotation(7, 5), "neither polygons nor a run-length code"),
    ],
)
def test_objects_that_would_become_background_are_refused(label_of, entry, why):
    with pytest.raises(DataError, match=why) as raised:
        read_label(label_of(entry), NAMES)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "it holds no object"),
        ("{", "not valid JSON"),
        ('{"images": [], "categories": [{"id": 1, "name": "a"}], "images": []}', "'images' occurs twice"),
        ('{"images": 5, "categories": []}', "no list 'images'"),
        ('{"images": [], "categories": []}', "lists no category"),
        ('{"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": {}}', "no list 'annotations'"),
        ('{"images": [], "categories": [{"id": 1}]}', "category 1"),
        ('{"images": [], "categories": [{"id": "x", "name": "a"}]}', "category 1"),
        ('{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "two categories"),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a "}],'
            ' "annotations": [{"category_id": 1}, {"category_id": 2}]}',
            "two categories",
        ),
        ('{"images": [], "categories": [{"id": 1, "name": "\\ud800"}]}', "category 1"),
        ('{"images": ' + "[" * 5000 + "]" * 5000 + "}", "not valid JSON"),
        ('{"images": [], "categories": [{"id": 1' + "0" * 5000 + ', "name": "a"}]}', "not valid JSON"),
    ],
)
def test_files_that_are_not_cocos_end_in_one_message(tmp_path, content, why):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=why):
        read_coco_file(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (image(7, "a.png", height=10**12), "height and width"),
        (image(7, "a.png", height=1 << 19, width=1 << 19), "expected at most"),
        (image(7, "a.png", height=float("nan")), "height and width"),
        (image(7, "a.png", height=0), "height and width"),
        (image(7, ""), "no file_name"),
        (image(7, None), "no file_name"),
        (image("a/b", "a.png"), "id is no whole number"),
        (image([], "a.png"), "id is no whole number"),
        ("a.png", "id is no whole number"),
    ],
)
def test_images_that_cannot_be_used_are_named(tmp_path, entry, why):
    file = read_coco_file(write_coco(tmp_path / "a.json", [entry, image(8, "b.png")], []))
    assert [*file.images] == ["8"]
    assert [why in problem for problem in file.problems.values()] == [True]


def test_annotations_of_no_image_and_of_crowds_are_named(tmp_path):
    entries = [annotation(8, box(0, 0, 1, 1), id=4), annotation(7, box(0, 0, 1, 1), id=5, iscrowd=1), "text"]
    file = read_coco_file(write_coco(tmp_path / "a.json", [image(7, "a.png")], entries))
    assert file.notes == [
        "a.json: 2 annotations of no listed image, left out: 4, number 3",
        "a.json: 1 annotation of a crowd (iscrowd), whose pixels are those of the category: 5",
    ]
    objects, _ = read_objects(tmp_path / "a.json#image-7")
    assert [(found.category, found.crowd) for found in objects] == [("cell", True)]


def test_a_changed_file_is_read_again_and_only_the_image_of_a_case_counts(label_of):
    path = label_of(annotation(7, box(0, 0, 1, 1)), images=[image(7, "a.png"), image(8, "b.png")])
    before = content_of(path)
    label_of(
        annotation(7, box(0, 0, 1, 1)),
        annotation(8, box(0, 0, 3, 3), id=20),
        images=[image(7, "a.png"), image(8, "b.png")],
    )
    assert content_of(path) == before
    label_of(annotation(7, box(0, 0, 2, 2), id=100))
    assert content_of(path) != before
    assert read_label(path, NAMES).array.sum() == 4


def test_the_label_of_an_image_is_no_file_of_another_kind(label_of, tmp_path):
    path = label_of(annotation(7, box(0, 0, 1, 1)))
    assert not is_dicom(path)
    assert files_of(path) == [tmp_path / "a.json"]
    with pytest.raises(DataError, match="lists no image with the id 9"):
        read_label(tmp_path / "a.json#image-9", NAMES)


def test_ids_of_ten_digits_are_no_series_of_dicom(tmp_path):
    write_coco(tmp_path / "a.json", [image(1234567890, "a.png")], [annotation(1234567890, box(0, 0, 1, 1))])
    path = read_coco_file(tmp_path / "a.json").label_path("1234567890")
    assert not is_dicom(path)
    assert read_label(path, NAMES).array.sum() == 1


@pytest.mark.parametrize("ids", [(0, 1), (1, 0)])
def test_of_two_categories_of_a_name_the_one_that_is_drawn_counts(tmp_path: Path, ids: tuple[int, int]) -> None:
    """As Roboflow lists the project itself, under the name of its only class."""
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}],
        "categories": [{"id": id, "name": "cell"} for id in ids],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_coco_file(tmp_path / "a.json").used_categories() == {1: "cell"}
