"""Which voxels of a label are one object: what labels say themselves comes before what touches."""

import numpy as np
import pytest
from sets.coco_files import annotation, box, image, write_coco, write_images
from sets.layout_files import write_pictures

from medseg.core.errors import DataError, PlanError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label, read_objects
from medseg.io.load import load_case
from medseg.io.values.objects import tells_objects_apart
from medseg.plans.sections.reading import Reading


def touching() -> np.ndarray:
    """Two squares of 4 x 4 that share an edge."""
    array = np.zeros((4, 8), np.uint8)
    array[:, :4], array[:, 4:] = 1, 2
    return array


@pytest.fixture
def masks(tmp_path, save_picture):
    """The two squares as masks of their own: a folder, a united pair, and one mask with a map of numbers beside it."""
    numbers = touching()
    for number in (1, 2):
        save_picture(tmp_path / "folder" / f"{number}.png", (numbers == number).astype(np.uint8))
    save_picture(tmp_path / "a_mask.png", (numbers == 1).astype(np.uint8))
    save_picture(tmp_path / "a_mask_1.png", (numbers == 2).astype(np.uint8))
    save_picture(tmp_path / "masks" / "b.png", (numbers > 0).astype(np.uint8))
    save_picture(tmp_path / "instances" / "b.png", numbers)
    save_picture(tmp_path / "plain" / "masks" / "b.png", (numbers > 0).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize(("label", "segments"), [("folder", {"*": 1}), ("a_mask#united.png", {}), ("masks/b.png", {})])
def test_objects_that_touch_are_told_apart_where_the_label_says_it(masks, label, segments):
    reading = Reading(segments=segments)
    assert tells_objects_apart(masks / label)
    np.testing.assert_array_equal(read_objects(masks / label, reading).array[0, 0], touching())
    marked = read_label(masks / label, reading.model_copy(update={"boundaries": {1: 5}})).array[0, 0]
    assert marked.tolist() == [[1, 1, 1, 5, 5, 1, 1, 1]] * 4


def test_what_touches_is_one_object_elsewhere(masks):
    path = masks / "plain" / "masks" / "b.png"
    assert not tells_objects_apart(path)
    assert read_objects(path).array.max() == 1
    assert read_label(path, Reading(boundaries={1: 5})).array.max() == 1  # no object beside it, no boundary


def test_a_map_of_numbers_of_another_label_is_refused(masks, save_picture):
    save_picture(masks / "masks" / "b.png", (touching() == 1).astype(np.uint8))
    with pytest.raises(DataError, match="does not belong to"):
        read_objects(masks / "masks" / "b.png")


def test_objects_of_coco(tmp_path):
    write_images(tmp_path, "a.png")
    drawn = [annotation(1, box(0, 0, 2, 4)), annotation(1, box(2, 0, 4, 4), id=2)]
    write_coco(tmp_path / "x.json", [image(1, "a.png")], drawn)
    data = find_data(tmp_path, DataOptions(boundaries=True))
    assert data.labels.structures == {"cell": 1, "cell boundary": 2}
    assert read_objects(data.cases[0].label, data.reading).array[0, 0, 0].tolist() == [1, 1, 2, 2, 0]
    label = load_case(data.cases[0], 3, data.reading, data.labels).label
    assert label.array[0, 0, 0].tolist() == [1, 2, 1, 1, 0]  # the second one would be lost as boundary


def test_boundaries_take_free_values_and_need_structures(tmp_path):
    write_pictures(tmp_path, {"images/a.png": "labels/a.png", "images/b.png": "labels/b.png"})
    data = find_data(tmp_path, DataOptions(structures=["x=1", "y=3"], ignore=2, boundaries=True))
    assert data.labels.structures == {"x": 1, "y": 3, "x boundary": 4, "y boundary": 5}
    assert data.reading.boundaries == {1: 4, 3: 5}
    assert data.labels.values == (0, 1, 3, 4, 5)
    with pytest.raises(PlanError, match="they are not declared"):
        find_data(tmp_path, DataOptions(boundaries=True))
