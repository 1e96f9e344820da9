"""Values as they stand in label files, to the values meant."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as pillow

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.labels import Labels
from medseg.io.images import read_label
from medseg.io.load import load_case
from medseg.io.values.label_values import map_values, refuse_soft, whole_numbers
from medseg.plans.sections.reading import Reading

RED, GREEN, BLUE, BLACK, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]


def values_of(path: Path, **reading: object) -> list[int]:
    return read_label(path, Reading.model_validate(reading)).array.ravel().tolist()


def test_whole_numbers_up_to_rounding_are_accepted():
    numbers = whole_numbers(np.array([0.0, 0.99999997, 2.0, 254.9999]), "x")
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [0, 1, 2, 255]
    assert whole_numbers(np.array([True, False]), "x").tolist() == [1, 0]
    assert whole_numbers(np.array([0.0, 2.0**40]), "x").tolist() == [0, 2**40]


def test_integers_pass_untouched():
    array = np.array([0, 65535], dtype=np.uint16)
    assert whole_numbers(array, "x") is array


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_nan_in_a_label_is_neither_background_nor_a_structure(tmp_path, save_nifti, threshold):
    path = save_nifti(tmp_path / "a.nii.gz", np.array([[[0.0, 1.0, np.nan]]], np.float32))
    with pytest.raises(DataError, match=r"a\.nii\.gz holds NaN in 1 of 3 voxels of a label map") as caught:
        read_label(path, Reading(threshold=threshold))
    assert caught.value.kind == "not finite"


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_nan_around_a_label_is_the_background_and_noted(tmp_path, save_nifti, threshold):
    """As AFNI and SPM write masks: NaN where nothing was measured, here all but a block of 4 x 4 x 4 voxels."""
    values = np.full((6, 8, 8), np.nan, np.float32)
    values[1:5, 2:6, 2:6] = 0
    values[1:5, 3:5, 3:5] = 1
    label = read_label(save_nifti(tmp_path / "a.nii.gz", values), Reading(threshold=threshold))
    np.testing.assert_array_equal(label.array[0], np.nan_to_num(values))
    assert label.notes == (
        f"{tmp_path / 'a.nii.gz'}: 320 of 384 voxels are NaN, all at the edge of the grid; they are read as 0, the "
        "background",
    )
    values[2, 3, 3] = np.nan  # a hole, too
    with pytest.raises(DataError, match="holds NaN in 321 of 384 voxels"):
        read_label(save_nifti(tmp_path / "b.nii.gz", values), Reading(threshold=threshold))


def test_nan_around_a_label_without_background_is_refused(tmp_path, save_nifti):
    values = np.full((4, 8, 8), np.nan, np.float32)
    values[1:3, 2:6, 2:6] = np.arange(32).reshape(2, 4, 4) % 2
    scan = save_nifti(tmp_path / "a.nii.gz", np.zeros((4, 8, 8), np.float32))
    case = Case("a", "a", (scan,), save_nifti(tmp_path / "b.nii.gz", values))
    assert load_case(case, 1, labels=Labels(structures={"one": 1})).label.array.sum() == 16
    with pytest.raises(DataError, match="holds NaN, and there is no background"):
        load_case(case, 1, labels=Labels(structures={"zero": 0, "one": 1}, background=None))


@pytest.mark.parametrize("odd", [0.5, 1.002])
def test_what_is_not_whole_is_refused_with_the_value_the_file_and_the_option(odd):
    with pytest.raises(DataError, match=rf"soft\.nii holds labels that are not whole numbers: {odd:g}") as caught:
        whole_numbers(np.array([0.0, 1.0, odd]), "soft.nii")
    assert "--threshold" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float32, np.float64, np.int8])
def test_every_type_of_whole_numbers_is_read(tmp_path, save_nifti, dtype):
    assert values_of(save_nifti(tmp_path / "a.nii.gz", np.array([[[0, 1, 117]]], dtype))) == [0, 1, 117]


def test_a_threshold_takes_what_is_at_least_as_large(tmp_path, save_nifti, save_picture):
    soft = save_nifti(tmp_path / "a.nii.gz", np.array([[[0, 0.49, 0.5, 1]]], np.float32))
    assert values_of(soft, threshold=0.5) == [0, 0, 1, 1]
    grey = save_picture(tmp_path / "a.png", [[0, 127, 128, 255]])
    assert values_of(grey, threshold=128) == [0, 0, 1, 1]
    # of colours the brightest part counts: pure blue is as much a mark as white
    colours = save_picture(tmp_path / "b.png", [[BLACK, [0, 0, 100], BLUE, WHITE]])
    assert values_of(colours, threshold=128) == [0, 0, 1, 1]


def test_values_are_mapped_after_the_threshold(tmp_path, save_picture):
    grey = save_picture(tmp_path / "a.png", [[0, 3, 7, 200]])
    assert values_of(grey, map={3: 0}) == [0, 0, 7, 200]
    assert values_of(grey, map={3: 7, 7: 3}) == [0, 7, 3, 200]
    assert values_of(grey, map={"1-100": 1, 7: 2}) == [0, 1, 2, 200]
    assert values_of(grey, threshold=5, map={1: 255}) == [0, 0, 255, 255]


def test_maps_of_negative_and_of_very_large_values():
    values = np.array([-1, 0, 5, 10**9])
    assert map_values(values, {-1: 0, 10**9: 1}).tolist() == [0, 0, 5, 1]
    assert map_values(values, {"-5--1": 9}).tolist() == [9, 0, 5, 10**9]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"1-5": 1, "5-9": 2}, "two ranges of map hold the value 5"),
        ({"9-5": 1}, "'9-5' is neither a value"),
        ({"a": 1}, "'a' is neither a value"),
    ],
)
def test_maps_that_say_nothing_clear_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        Reading(map=table)


def test_a_map_survives_json():
    reading = Reading(map={3: 0, "100-255": 1})
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


def test_colours_are_looked_up(tmp_path, save_picture):
    path = save_picture(tmp_path / "a.png", [[BLACK, RED, GREEN, WHITE]])
    table = {"#000000": 0, "#ff0000": 1, "#00ff00": 2, "#ffffff": 255}
    assert values_of(path, colours=table) == [0, 1, 2, 255]
    assert values_of(save_picture(tmp_path / "b.png", [[0, 255]]), colours=table) == [0, 255]  # grey is a colour, too
    with pytest.raises(DataError, match=r"1 colour that no structure has: #00ff00 in 1 pixels; known are"):
        values_of(path, colours={"#000000": 0, "#ff0000": 1, "#ffffff": 3})


def test_with_a_colour_table_palettes_are_read_by_colour(tmp_path):
    picture = pillow.new("P", (3, 1))
    picture.putdata([0, 1, 2])
    picture.putpalette([*BLACK, *GREEN, *RED])
    picture.save(tmp_path / "a.png")
    assert values_of(tmp_path / "a.png") == [0, 1, 2]
    assert values_of(tmp_path / "a.png", colours={"#000000": 0, "#ff0000": 1, "#00ff00": 2}) == [0, 2, 1]


def test_several_colours_need_a_table(tmp_path, save_picture):
    with pytest.raises(DataError, match=r"3 colours \(#000000, #00ff00, #ff0000\)") as caught:
        values_of(save_picture(tmp_path / "a.png", [[RED, GREEN, BLACK]]))
    assert "--colours 'liver=#ff0000'" in str(caught.value)


def blurred(tmp_path: Path, name: str = "a.jpg") -> Path:
    """A white square on black as JPEG: 0 and 255 with blur between."""
    square = np.zeros((32, 32), np.uint8)
    square[9:20, 10:23] = 255
    pillow.fromarray(square).save(tmp_path / name, format="JPEG", quality=75)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif"])
def test_jpeg_masks_are_refused_whatever_they_are_called(tmp_path, name):
    with pytest.raises(
        DataError, match=r"stored as JPEG, which changes values; it holds \d+ values such as 0, "
    ) as caught:
        values_of(blurred(tmp_path, name))
    assert "--threshold 128" in str(caught.value)


def test_jpeg_masks_with_an_option_that_settles_them(tmp_path):
    path = blurred(tmp_path)
    by_threshold = values_of(path, threshold=128)
    assert sum(by_threshold) == 11 * 13
    assert values_of(path, map={"0-127": 0, "128-255": 1}) == by_threshold
    with pytest.raises(DataError, match="--map does not name"):
        values_of(path, map={"128-255": 1})


def test_a_soft_mask_of_which_a_map_says_only_half_is_refused(tmp_path, save_picture):
    ramp = np.repeat(np.clip(np.arange(64) * 8 - 128, 0, 255)[np.newaxis], 32, axis=0)
    path = save_picture(tmp_path / "a.png", ramp)
    with pytest.raises(DataError, match=r"is a soft mask; it holds .* --map does not name"):
        values_of(path, map={"128-255": 1})
    assert sum(values_of(path, map={"0-127": 0, "128-255": 1})) == 32 * 32


def test_refused_soft_masks_are_told_what_settles_them():
    ramp = np.repeat(np.clip(np.arange(64) * 8 - 128, 0, 255)[np.newaxis], 32, axis=0)
    with pytest.raises(
        DataError, match=r"a\.png holds 33 values such as 0, 32, .* nearly all of them at edges"
    ) as caught:
        refuse_soft(ramp, "a.png")
    assert "--threshold 128" in str(caught.value)
    refuse_soft((ramp > 100).astype(np.uint8), "a.png")


@pytest.mark.real
def test_real_masks_scaled_by_a_tiny_slope_are_whole_numbers(data_dir):
    path = next(iter(sorted((data_dir / "brain_tumour/brainmasks").iterdir())))
    assert nib.load(path).dataobj.inter == 0.5
    assert set(np.unique(read_label(path).array).tolist()) == {0, 1}
