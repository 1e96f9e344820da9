"""The Oxford-IIIT pets: trimaps, their lists, and what is odd in them."""

import numpy as np
import pytest
from sets.layout_files import files_of, touch, write_pictures

import medseg
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label
from medseg.io.layouts.find import find_cases

NAMES = ["Abyssinian_1", "Abyssinian_2", "beagle_1", "beagle_10"]


@pytest.fixture
def pets(tmp_path):
    """Four cases, of which the lists name three."""
    touch(tmp_path, *(f"images/{name}.jpg" for name in NAMES), "images/Abyssinian_100.mat")
    touch(tmp_path, *(f"annotations/trimaps/{name}.png" for name in NAMES))
    touch(tmp_path, *(f"annotations/trimaps/._{name}.png" for name in NAMES), "annotations/xmls/beagle_1.xml")
    (tmp_path / "annotations/list.txt").write_text("#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\n")
    (tmp_path / "annotations/trainval.txt").write_text("Abyssinian_1 1 1 1\nbeagle_1 2 2 1\n")
    (tmp_path / "annotations/test.txt").write_text("beagle_10 2 2 1\n")
    return tmp_path


def test_trimaps_and_lists_are_read(pets):
    data = find_cases(pets)
    assert (data.layout, data.labels.structures, data.reading.map) == ("pets", {"pet": 1, "border": 3}, {2: 0})
    assert files_of(data)["beagle_10"] == ["images/beagle_10.jpg", "annotations/trimaps/beagle_10.png"]
    assert {case.id: case.attributes["split"] for case in data.cases} == {
        "Abyssinian_1": "trainval",
        "beagle_1": "trainval",
        "beagle_10": "test",
    }
    assert "1 case in no list" in data.problems[0]


def test_without_lists_every_case_is_used(pets):
    for name in ("trainval", "test"):
        (pets / f"annotations/{name}.txt").unlink()
    data = find_cases(pets)
    assert [case.id for case in data.cases] == NAMES
    assert all(not case.attributes for case in data.cases)


@pytest.mark.parametrize("missing", ["images/beagle_1.jpg", "annotations/trimaps/beagle_1.png"])
def test_a_missing_file_of_a_listed_case_is_named(pets, missing):
    (pets / missing).unlink()
    data = find_cases(pets)
    assert [case.id for case in data.cases] == ["Abyssinian_1", "beagle_10"]
    assert data.problems[0].startswith("beagle_1: there is no ")


def test_a_listed_case_without_any_file_is_named(pets):
    (pets / "annotations/test.txt").write_text("beagle_10 2 2 1\npug_3 3 2 1\n")
    assert "pug_3: there is neither an image nor a trimap" in find_cases(pets).problems[0]


def test_trimaps_beside_the_images_folder_are_read(tmp_path):
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "trimaps") for name in NAMES))
    assert [case.id for case in find_cases(tmp_path).cases] == NAMES


@pytest.mark.parametrize(
    ("options", "value_map", "structures"),
    [
        ({}, {2: 0}, {"pet": 1, "border": 3}),
        ({"structures": ["pet=1"], "map": ["3=255"], "ignore": 255}, {2: 0, 3: 255}, {"pet": 1}),
        ({"structures": ["pet=1"], "map": ["2-3=0"]}, {"2-3": 0}, {"pet": 1}),
        ({"structures": ["pet=1", "ground=2"]}, {}, {"pet": 1, "ground": 2}),
    ],
)
def test_options_come_before_what_the_layout_says(pets, options, value_map, structures):
    data = find_data(pets, DataOptions(**options))
    assert (data.reading.map, data.labels.structures) == (value_map, structures)


def test_the_value_2_is_background_in_the_plan(tmp_path, save_picture):
    trimap = np.full((32, 32), 2)
    trimap[8:24, 8:24] = 3
    trimap[10:22, 10:22] = 1
    for name in NAMES:
        write_pictures(tmp_path / "set", {f"images/{name}.png": ""})
        save_picture(tmp_path / f"set/annotations/trimaps/{name}.png", trimap)
    plan = medseg.plan(tmp_path / "set", tmp_path, None, medseg.PlanOptions(preset="cpu")).plan
    assert plan.data.structure_volume == {"pet": 144, "border": 112}
    label = read_label(tmp_path / f"set/annotations/trimaps/{NAMES[0]}.png", plan.data.reading)
    assert np.bincount(label.array.ravel()).tolist() == [768, 144, 0, 112]
