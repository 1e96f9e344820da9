"""Scenes of a street as Cityscapes and IDD lay them out, and what is odd in them."""

import pytest
from sets.layout_files import files_of, touch, write_json

from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.datasets.label_options import labels_of, notes_on_values
from medseg.io.layouts.dataset import LeftOut, Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.folder_of_scans import scans_of_folder

SCENES = {"train": ["aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"]}
SCENES |= {"val": ["munster_000000_000019"], "test": ["berlin_000000_000019"]}
KINDS = ("labelIds", "labelTrainIds", "color", "instanceIds")


@pytest.fixture
def cityscapes(tmp_path):
    for part, keys in SCENES.items():
        for key in keys:
            city = key.split("_")[0]
            touch(tmp_path, f"leftImg8bit/{part}/{city}/{key}_leftImg8bit.png")
            touch(tmp_path, *(f"gtFine/{part}/{city}/{key}_gtFine_{kind}.png" for kind in KINDS))
            touch(tmp_path, f"gtFine/{part}/{city}/{key}_gtFine_polygons.json")
    return tmp_path


def idd(folder, parts=("train", "val")):
    """The files of the small edition of IDD: the same names in every folder."""
    for part in parts:
        for drive in ("0", "119"):
            for key in ("024541", "024703"):
                touch(folder, f"leftImg8bit/{part}/{drive}/{key}_image.jpg")
                touch(folder, *(f"gtFine/{part}/{drive}/{key}_{kind}.png" for kind in ("label", "inst_label")))
    return folder


def test_train_ids_are_taken_where_they_are(cityscapes):
    data = find_cases(cityscapes)
    assert (data.layout, data.problems) == ("cityscapes", ["the labels are labelTrainIds"])
    assert (data.labels.background, data.labels.ignore, len(data.labels.structures)) == (None, 255, 19)
    assert (data.labels.structures["road"], data.labels.structures["bicycle"], data.reading.map) == (0, 18, {})
    assert files_of(data)["bochum_000000_000313"] == [
        "leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png",
        "gtFine/train/bochum/bochum_000000_000313_gtFine_labelTrainIds.png",
    ]
    parts = {case.id: (case.attributes["split"], case.patient) for case in data.cases}
    assert parts["aachen_000001_000019"] == ("train", "train_aachen")
    assert parts["berlin_000000_000019"] == ("test", "test_berlin")


@pytest.mark.parametrize("wanted", ["labelIds", "gtFine_labelIds"])
def test_ids_are_chosen_and_those_that_are_not_scored_are_ignored(cityscapes, wanted):
    data = find_cases(cityscapes, naming=Naming(labels=wanted))
    assert (data.labels.structures["road"], data.labels.structures["bicycle"]) == (7, 33)
    assert {**data.reading.map} == {
        **dict.fromkeys((0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30), 255),
    }
    assert data.cases[0].label.name.endswith("_gtFine_labelIds.png")


def test_another_kind_than_there_is_is_refused(cityscapes):
    with pytest.raises(DataError, match="no labels called 'labelLevel3'; it has labelIds, labelTrainIds"):
        find_cases(cityscapes, naming=Naming(labels="labelLevel3"))


def test_the_test_part_is_what_is_segmented(cityscapes):
    assert list(scans_of_folder(cityscapes, ("image",))[0]) == ["berlin_000000_000019"]


def test_missing_and_extra_files_are_named(cityscapes):
    (cityscapes / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelTrainIds.png").unlink()
    touch(cityscapes, "gtFine/val/munster/munster_000009_000019_gtFine_labelTrainIds.png", "leftImg8bit/readme.txt")
    data = find_cases(cityscapes)
    assert [problem.id for problem in data.problems if isinstance(problem, LeftOut)] == [
        "aachen_000001_000019",
        "munster_000009_000019_gtFine_labelTrainIds",
    ]


def test_the_small_idd_is_read_and_its_values_have_no_names(tmp_path):
    data = find_cases(idd(tmp_path))
    assert (data.labels, data.no_background, data.ignore) == (None, True, 255)
    assert [case.id for case in data.cases if case.attributes["split"] == "val"] == [
        *(f"val_{drive}_{key}" for drive in ("0", "119") for key in ("024541", "024703"))
    ]
    assert files_of(data)["train_0_024541"] == [
        "leftImg8bit/train/0/024541_image.jpg",
        "gtFine/train/0/024541_label.png",
    ]
    assert data.problems == ["the labels are label"]
    (note,) = notes_on_values(data, labels_of(data, [0, 1, 255], DataOptions()), [0, 1, 255])
    assert note.startswith("nothing names the values 0, 1: each is taken for a structure; --structures NAME=VALUE")


@pytest.mark.parametrize(("structures", "background"), [(["drivable=0", "sky=1"], None), (["drivable=1", "sky=2"], 0)])
def test_structures_say_whether_there_is_a_background(tmp_path, structures, background):
    data = find_data(idd(tmp_path), DataOptions(structures=structures))
    assert (data.labels.background, data.labels.ignore, data.no_background) == (background, 255, False)


def test_without_folders_of_cities_and_with_several_kinds(tmp_path):
    touch(tmp_path, *(f"leftImg8bit/{part}/{part}{n}.png" for part in ("train", "val") for n in range(2)))
    touch(tmp_path, *(f"gtFine/{part}/{part}{n}_label.png" for part in ("train", "val") for n in range(2)))
    assert [case.patient for case in find_cases(tmp_path).cases] == ["train0", "train1", "val0", "val1"]
    touch(tmp_path, "gtFine/train/train0_labellevel3Ids.png")
    with pytest.raises(DataError, match="labels of several kinds: label, labellevel3Ids"):
        find_cases(tmp_path)


def test_a_dataset_json_names_the_values_of_idd_and_renames_those_of_cityscapes(tmp_path, cityscapes):
    (tmp_path / "idd").mkdir()
    for folder in (idd(tmp_path / "idd"), cityscapes):
        write_json(folder, labels={"background": None, "drivable": 0, "sky": 7})
        data = find_data(folder, DataOptions())
        assert (data.labels.structures, data.labels.background) == ({"drivable": 0, "sky": 7}, None)
        assert data.labels.ignore == 255
    write_json(cityscapes, labels={"background": 0, "sky": 7})
    assert find_data(cityscapes, DataOptions()).labels.background == 0


def test_folders_with_the_names_of_the_archives_may_stand_around(tmp_path):
    key = "aachen_000000_000019"
    for part in ("train", "val"):
        touch(tmp_path, f"leftImg8bit_trainvaltest/leftImg8bit/{part}/aachen/{key}_leftImg8bit.png")
        touch(tmp_path, f"gtFine_trainvaltest/gtFine/{part}/aachen/{key}_gtFine_labelIds.png")
    data = find_cases(tmp_path)
    assert (data.layout, sorted(case.id for case in data.cases)) == ("cityscapes", [f"train_{key}", f"val_{key}"])
    assert sorted(scans_of_folder(tmp_path, ("image",))[0]) == [f"val_{key}"]


def test_outlines_in_json_lead_to_the_scripts_that_draw_them(tmp_path):
    touch(tmp_path, "leftImg8bit/train/0/a_leftImg8bit.png", "gtFine/train/0/a_gtFine_polygons.json")
    with pytest.raises(DataError, match=r"outlines in JSON; the scripts .* draw them as \.\.\._labelIds\.png"):
        find_cases(tmp_path)
