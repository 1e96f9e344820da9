"""Several masks of one image: united, or refused where they are not parts of a structure."""

import numpy as np
import pytest
from sets.layout_files import write_pictures

from medseg.core.errors import DataError
from medseg.datasets.data_options import DataOptions
from medseg.datasets.find_data import find_data
from medseg.io.images import read_label
from medseg.io.layouts.folder_of_scans import scans_of_folder
from medseg.io.load import load_case
from medseg.io.several_files import files_of


def mask(*rows: int, value: int = 255) -> np.ndarray:
    """A mask of 8 x 8 pixels that marks whole rows."""
    array = np.zeros((8, 8), np.uint8)
    array[[*rows]] = value
    return array


@pytest.fixture
def united(tmp_path, save_picture):
    """Return a function that writes masks of one image and returns the path that stands for them."""

    def write(*masks):
        for number, array in enumerate(masks):
            save_picture(tmp_path / f"p_mask{f'_{number}' if number else ''}.png", array)
        return tmp_path / "p_mask#united.png"

    return write


def test_what_any_of_the_masks_marks_is_marked(united):
    path = united(mask(0), mask(3, 4), mask(7))
    assert read_label(path).array[0, 0, :, 0].tolist() == [255, 0, 0, 255, 255, 0, 0, 255]
    assert [file.name for file in files_of(path)] == ["p_mask.png", "p_mask_1.png", "p_mask_2.png"]


@pytest.mark.parametrize(
    ("masks", "why"),
    [
        ((mask(0, 1, 2), mask(1, 2, 3)), "share 16 voxels, 67% of the smaller .* two drawings of the same thing"),
        ((mask(0, 1, 2), mask(2, value=1)), "mark with another value"),
        ((mask(0), np.zeros((8, 9), np.uint8)), "lie on different grids"),
    ],
)
def test_masks_that_are_not_parts_of_a_structure_are_refused(united, masks, why):
    with pytest.raises(DataError, match=why) as raised:
        read_label(united(*masks))
    assert raised.value.hint


@pytest.fixture
def nuclei(tmp_path, save_picture):
    """Return a function that writes the layout of the 2018 Data Science Bowl: a folder of masks for each image."""

    def write(**names):
        for case, of_case in names.items():
            write_pictures(tmp_path, {f"{case}/images/{case}.png": ""}, size=8)
            (tmp_path / case / "masks").mkdir()
            for row, name in enumerate(of_case):
                save_picture(tmp_path / case / "masks" / f"{name}.png", mask(2 * row))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "names",
    [
        {"a": ["0f", "1e"], "b": ["2c", "3d", "4b"], "c": ["5a"]},
        {"a": ["0", "1"], "b": ["0", "1", "2"], "c": ["0"]},
        {"a": ["mask_1", "mask_2"], "b": ["mask_1", "mask_2", "mask_3"], "c": ["mask_1"]},
    ],
)
@pytest.mark.parametrize("options", [DataOptions(), DataOptions(structures=["nucleus=1"])])
def test_masks_of_objects_are_united_and_told(nuclei, names, options):
    data = find_data(nuclei(**names), options)
    assert data.labels.structures == {options.structures[0][:-2] if options.structures else "foreground": 1}
    assert "the 6 masks of 3 images, up to 3 of one image, are objects of one structure, united" in data.problems[-1]
    found = {case.id: load_case(case, 3, data.reading, data.labels).label.array[0, 0, :, 0] for case in data.cases}
    assert {id: array.tolist() for id, array in found.items()} == {
        "a": [1, 0, 1, 0, 0, 0, 0, 0],
        "b": [1, 0, 1, 0, 1, 0, 0, 0],
        "c": [1, 0, 0, 0, 0, 0, 0, 0],
    }


def test_masks_of_structures_stay_structures(nuclei):
    data = find_data(nuclei(a=["liver", "spleen"], b=["liver", "spleen", "kidney"], c=["liver"]), DataOptions())
    assert data.labels.names == ("kidney", "liver", "spleen")


def test_images_of_such_folders_are_found_to_be_segmented(nuclei):
    files, problems = scans_of_folder(nuclei(a=["0f", "1e"], b=["2c"], c=["3d"]), ("image",))
    assert ({id: [path.name for path in paths] for id, paths in files.items()}, problems) == (
        {"a": ["a.png"], "b": ["b.png"], "c": ["c.png"]},
        {},
    )
