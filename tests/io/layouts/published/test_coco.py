"""COCO's layout: images and annotation files find each other, and what is not used is named."""

import numpy as np
import pytest
from PIL import Image as pillow
from sets.coco_files import annotation, box, image, write_coco, write_images
from sets.layout_files import files_of, touch

from medseg.commands.evaluate.evaluate import evaluate
from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label, read_objects
from medseg.io.layouts.find import find_cases, is_data_set
from medseg.io.layouts.folder_of_scans import scans_of_folder
from medseg.io.load import load_case


@pytest.fixture
def published(tmp_path):
    """COCO's own layout: a file for train and one for val, captions beside them, and a list of test images."""
    for number, part in enumerate(("train", "val")):
        write_images(tmp_path / f"{part}2017", f"{number}.png")
        drawn = [annotation(number, box(0, 0, 2, 2)), annotation(number, box(3, 0, 5, 4), category=3, id=2)]
        listed = [image(number, f"{number}.png")]
        write_coco(tmp_path / "annotations" / f"instances_{part}2017.json", listed, drawn)
        write_coco(tmp_path / "annotations" / f"person_keypoints_{part}2017.json", listed, [])
    write_images(tmp_path / "test2017", "9.png")
    write_coco(tmp_path / "annotations" / "instances_test2017.json", [image(9, "9.png")], None)
    return tmp_path


def test_files_for_train_and_val_are_a_published_split(published):
    data = find_cases(published)
    assert (data.layout, data.labels.structures) == ("coco", {"cell": 1, "nucleus": 3})
    assert files_of(data) == {
        "0": ["train2017/0.png", "annotations/instances_train2017.json#image-0"],
        "1": ["val2017/1.png", "annotations/instances_val2017.json#image-1"],
    }
    assert [case.attributes for case in data.cases] == [{"split": "train"}, {"split": "val"}]
    assert data.problems == [
        "not used beside instances_test2017.json: person_keypoints_train2017.json, person_keypoints_val2017.json; "
        "--labels person_keypoints_train2017.json chooses that file",
        "instances_test2017.json lists images without annotations, to predict",
    ]


def test_scans_are_those_of_the_test_part(published):
    assert [*scans_of_folder(published, ["image"])[0]] == ["9"]


def test_cases_load_by_the_names_of_the_categories(published):
    data = find_data(published, DataOptions())
    assert data.reading.segments == {"cell": 1, "nucleus": 3}
    loaded = load_case(data.cases[0], 3, data.reading, data.labels)
    assert np.unique(loaded.label.array, return_counts=True)[1].tolist() == [20 - 4 - 8, 4, 8]


def test_a_file_among_the_images_of_each_part(tmp_path):
    for part in ("train", "valid", "test"):
        write_images(tmp_path / part, "a.png", "b.png")
        listed = [image(1, "a.png"), image(2, "b.png")]
        write_coco(tmp_path / part / "_annotations.coco.json", listed, [annotation(1, box(0, 0, 1, 1))])
    data = find_cases(tmp_path)
    assert [(case.id, case.attributes["split"]) for case in data.cases] == [
        ("test_a", "test"),
        ("test_b", "test"),
        ("train_a", "train"),
        ("train_b", "train"),
        ("valid_a", "val"),
        ("valid_b", "val"),
    ]
    assert [*scans_of_folder(tmp_path, ["image"])[0]] == ["test_a", "test_b"]  # the names of their references
    assert "3 images without an annotation, background as a whole: b.png, b.png, b.png" in data.problems
    assert "1 category of no annotation, no structure: nucleus" in data.problems
    assert is_data_set(tmp_path)


@pytest.mark.parametrize(
    "file_name", ["a.png", "some/where/images/a.png", "C:\\data\\images\\a.png", "../images/a.png"]
)
def test_images_are_found_by_the_end_of_their_path(tmp_path, file_name):
    write_images(tmp_path / "images", "a.png")
    write_coco(tmp_path / "coco.json", [image(1, file_name)], [annotation(1, box(0, 0, 1, 1))])
    assert files_of(find_cases(tmp_path)) == {"a": ["images/a.png", "coco.json#image-1"]}


def test_every_image_is_used_or_named(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "more/c.png", "other/c.png")
    listed = [image(1, "a.png"), image(2, "gone.png"), image(3, "c.png"), image(4, "a.png"), image(5, None)]
    write_coco(tmp_path / "x.json", [*listed, image(6, "other/c.png")], [annotation(6, box(0, 0, 1, 1))])
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["c"]
    text = "\n".join(data.problems)
    assert "gone.png: there is no image of this name below the folder (x.json lists it)" in text
    assert f"c.png: {tmp_path / 'more/c.png'} and {tmp_path / 'other/c.png'} may be the image" in text
    assert "a.png: it is listed more than once, in x.json" in text
    assert "x.json: 5: it has no file_name" in text
    assert "2 images without an entry in a JSON file, left out: b.png, more/c.png" in text


def test_two_files_about_the_same_images_are_not_guessed_at(tmp_path):
    write_images(tmp_path, "a.png")
    for name in ("one.json", "two.json"):
        write_coco(tmp_path / name, [image(1, "a.png")], [annotation(1, box(0, 0, 1, 1))])
    with pytest.raises(DataError, match=r"one.json and two.json in .* both list a.png") as raised:
        find_cases(tmp_path)
    assert raised.value.hint == "Choose one: --labels two.json."
    data = find_data(tmp_path, DataOptions(labels="two.json"))
    assert data.cases[0].label == tmp_path / "two.json#image-1"


def test_an_image_in_train_and_val_is_left_out(published):
    write_images(published / "train2017", "2.png")
    path = published / "annotations" / "instances_train2017.json"
    write_coco(
        path, [image(0, "0.png"), image(1, "val2017/1.png"), image(2, "2.png")], [annotation(0, box(0, 0, 1, 1))]
    )
    data = find_cases(published)
    assert [case.id for case in data.cases] == ["0", "2"]
    assert any("val2017/1.png: it is listed more than once" in problem for problem in data.problems)


@pytest.mark.parametrize(
    ("categories", "structures"),
    [
        ([(0, "cell"), (1, "nucleus")], {"cell": 1, "nucleus": 2}),
        ([(1, "cell"), (300, "nucleus")], {"cell": 1, "nucleus": 2}),
        ([(5, "cell"), (2, "nucleus")], {"nucleus": 2, "cell": 5}),
    ],
)
def test_ids_of_categories_are_the_values_where_they_can_be(tmp_path, categories, structures):
    write_images(tmp_path, "a.png")
    drawn = [annotation(1, box(n, 0, n + 1, 1), category=id, id=n) for n, (id, _) in enumerate(categories)]
    listed = [{"id": id, "name": name} for id, name in categories]
    write_coco(tmp_path / "x.json", [image(1, "a.png")], drawn, listed)
    data = find_data(tmp_path, DataOptions())
    assert data.labels.structures == structures
    label = load_case(data.cases[0], 3, data.reading, data.labels).label
    by_name = {name: label.array[0, 0, 0, n] for n, (_, name) in enumerate(categories)}
    assert by_name == structures


def test_an_image_of_another_size_is_refused_by_name(tmp_path):
    write_images(tmp_path, "a.png", height=8)
    write_coco(tmp_path / "x.json", [image(1, "a.png")], [annotation(1, box(0, 0, 1, 1))])
    data = find_data(tmp_path, DataOptions())
    with pytest.raises(DataError, match=r"drawn on an image of 5 x 4 pixels; a.png has 5 x 8"):
        load_case(data.cases[0], 3, data.reading, data.labels)


@pytest.mark.parametrize(
    ("orientation", "stored", "listed", "pixel", "note"),
    [  # sizes are (height, width); a box covers the pixel at the top left of the picture that was annotated
        (1, (4, 5), (4, 5), (0, 0), ""),
        (6, (4, 5), (4, 5), (0, 3), "as it is stored, and is turned with it"),
        (8, (4, 5), (4, 5), (4, 0), "as it is stored, and is turned with it"),
        (6, (4, 5), (5, 4), (0, 0), ""),  # the size says that it was annotated as it is shown
        (3, (4, 5), (4, 5), (0, 0), "its size does not say whether it was annotated as viewers show it"),
        (6, (4, 4), (4, 4), (0, 0), "its size does not say whether it was annotated as viewers show it"),
    ],
)
def test_annotations_of_a_turned_photograph(tmp_path, orientation, stored, listed, pixel, note):
    pixels = np.random.default_rng(0).integers(0, 255, (*stored, 3), dtype=np.uint8)
    exif = pillow.Exif()
    exif[274] = orientation
    pillow.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    write_coco(tmp_path / "x.json", [image(1, "a.png", *listed)], [annotation(1, box(0, 0, 1, 1))])
    data = find_data(tmp_path, DataOptions())
    loaded = load_case(data.cases[0], 3, data.reading, data.labels)
    label = loaded.label.array[0, 0]
    assert label.shape == loaded.image.shape_zyx[1:]
    assert np.argwhere(label).tolist() == [[*pixel]]
    numbers = read_objects(data.cases[0].label, data.reading, loaded.image).array[0, 0]
    assert np.argwhere(numbers).tolist() == [[*pixel]]
    notes = [text for text in loaded.label.notes if "x.json" in text]
    assert len(notes) == bool(note)
    assert all(note in text for text in notes)
    save_answer = tmp_path / "answers" / "a.png"
    save_answer.parent.mkdir()
    pillow.fromarray(label.astype(np.uint8)).save(save_answer)
    assert evaluate(tmp_path / "answers", tmp_path).summary.dice_mean == 1


def test_masks_in_a_folder_of_their_own_stay_the_labels(tmp_path):
    write_images(tmp_path, "images/a.png")
    touch(tmp_path, "masks/a.png")
    write_coco(tmp_path / "x.json", [image(1, "a.png")], [annotation(1, box(0, 0, 1, 1))])
    assert find_cases(tmp_path).layout == "pairs"


def test_overlapping_categories_become_regions_where_that_is_asked_for(tmp_path):
    write_images(tmp_path, "a.png")
    drawn = [annotation(1, box(0, 0, 4, 4)), annotation(1, box(1, 1, 2, 2), category=3, id=2)]
    write_coco(tmp_path / "x.json", [image(1, "a.png")], drawn)
    labels = find_data(tmp_path, DataOptions(overlaps="regions")).labels
    assert labels.structures == {"cell": [1, 4], "nucleus": [3, 4]}


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ([], "no annotation of a listed category: no image has any"),
        ([annotation(7, box(0, 0, 2, 2), category=9)], "name the categories 9, which it does not list"),
        (
            [{"image_id": 7, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 1}]}],
            "panoptic annotations",
        ),
    ],
)
def test_files_in_which_nothing_is_drawn_are_refused(tmp_path, drawn, message):
    write_images(tmp_path, "a.png")
    write_coco(tmp_path / "a.json", [image(7, "a.png")], drawn)
    with pytest.raises(DataError, match=message):
        find_cases(tmp_path)


@pytest.mark.parametrize(("listed", "used"), [(3, "3"), ("3", 3), ("3", "3")])
def test_ids_of_categories_may_be_text(tmp_path, listed, used):
    write_images(tmp_path, "a.png")
    categories = [{"id": listed, "name": "nucleus"}]
    path = write_coco(tmp_path / "a.json", [image(7, "a.png")], [annotation(7, box(0, 0, 2, 2), used)], categories)
    data = find_data(tmp_path, DataOptions())
    assert data.labels.structures == {"nucleus": 3}
    label = read_label(path.with_name("a.json#image-7"), data.reading)
    assert label.array[0, 0].tolist() == [[3, 3, 0, 0, 0], [3, 3, 0, 0, 0], [0] * 5, [0] * 5]


def test_files_of_one_name_in_a_folder_of_images_and_in_another_are_told_apart(tmp_path):
    """As labelme's conversion with numbered objects writes them."""
    write_images(tmp_path / "images", "a.png")
    write_images(tmp_path / "instances", "a.png")
    write_coco(tmp_path / "annotations.json", [image(1, "a.png")], [annotation(1, box(1, 1, 3, 3))])
    assert files_of(find_cases(tmp_path))["a"][0] == "images/a.png"
