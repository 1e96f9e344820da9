"""Folders of labelme_json_to_dataset: values follow the shapes of each image, so files are read by their names."""

import numpy as np
import pytest
from sets.layout_files import touch, write_pictures

from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label
from medseg.io.layouts.dataset import LeftOut
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.folder_of_scans import scans_of_folder


@pytest.fixture
def exported(tmp_path, save_picture):
    """Return a function that writes a folder for each list of names; pixel k of a label has the value k."""

    def write(**lists):
        for case, names in lists.items():
            folder = tmp_path / f"{case}_json"
            write_pictures(folder, {"img.png": "", "label_viz.png": ""})
            mask = np.zeros((32, 32), np.uint8)
            mask[0, : len(names)] = np.arange(len(names))
            save_picture(folder / "label.png", mask)
            (folder / "label_names.txt").write_text("\n".join(names) + "\n")
            touch(folder, "info.yaml")
        return tmp_path

    return write


def test_lists_that_agree_name_the_values(exported):
    folder = exported(a=["_background_", "cat", "dog"], b=["_background_", "cat"])
    data = find_data(folder, DataOptions())
    assert (data.layout, data.labels.structures, data.reading.segments) == ("labelme", {"cat": 1, "dog": 2}, {})
    assert [case.id for case in data.cases] == ["a", "b"]


def test_lists_that_differ_are_read_by_their_names(exported):
    folder = exported(a=["_background_", "cat", "dog"], b=["_background_", "dog"], c=["_background_", "dog", "cat"])
    data = find_data(folder, DataOptions())
    assert data.labels.structures == {"cat": 1, "dog": 2}
    values = {
        case.id: read_label(case.label, data.reading).array[0, 0, 0, :3].tolist() for case in data.cases if case.label
    }
    assert values == {"a": [0, 1, 2], "b": [0, 2, 0], "c": [0, 2, 1]}


def test_segments_choose_among_the_names(exported):
    folder = exported(a=["_background_", "cat", "dog"], b=["_background_", "dog", "hotdog"])
    data = find_data(folder, DataOptions(segments=["animal=cat", "animal=dog"]))
    assert data.labels.structures == {"animal": 1}
    assert [read_label(case.label, data.reading).array.sum() for case in data.cases] == [2, 1]


def test_a_value_without_a_name_is_refused_by_name(exported):
    folder = exported(a=["_background_", "cat", "dog"], b=["_background_", "dog"])
    (folder / "a_json/label_names.txt").write_text("_background_\ncat\n")
    reading = find_data(folder, DataOptions(segments=["cat"])).reading
    with pytest.raises(DataError, match=r"a_json/label.png holds the value 2, which label_names.txt"):
        read_label(folder / "a_json/label.png", reading)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("img.png", None, "there is no img"),
        ("label.png", None, "there is no label"),
        ("label_names.txt", None, "there is no label_names.txt"),
        ("label_names.txt", "cat\ndog\n", "begins with 'cat'; expected _background_"),
        ("label_names.txt", "_background_\ncat\ncat\n", "has a name twice"),
        ("label_names.txt", "", "begins with ''"),
    ],
)
def test_what_is_odd_in_a_folder_is_named(exported, file, content, why):
    folder = exported(**{case: ["_background_", "cat"] for case in "abc"})
    (folder / "b_json" / file).unlink() if content is None else (folder / "b_json" / file).write_text(content)
    data = find_cases(folder)
    assert [case.id for case in data.cases] == ["a", "c"]
    assert [(problem.id, why in problem) for problem in data.problems if isinstance(problem, LeftOut)] == [("b", True)]


def test_the_images_are_what_is_segmented(exported):
    folder = exported(**{case: ["_background_", "cat"] for case in "ab"})
    touch(folder, "notes/readme.txt")
    files, _ = scans_of_folder(folder, ("image",))
    assert files == {case: (folder / f"{case}_json/img.png",) for case in "ab"}
