"""The files of a case as one image on one grid."""

import nibabel as nib
import numpy as np
import pytest

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.io.layouts.find import find_cases
from medseg.io.load import first_look, load_case, load_case_image, load_case_label
from medseg.plans.sections.reading import Reading

GRID = np.diag([1.0, 2.0, 3.0, 1.0])
CUBE = np.ones((2, 3, 4))
MASK = CUBE.astype(np.uint8)


def shifted(voxels: float) -> np.ndarray:
    affine = GRID.copy()
    affine[0, 3] = voxels  # along x, where a voxel is 1 mm
    return affine


@pytest.fixture
def case(tmp_path, save_nifti):
    def make(first, second, label=MASK, affines=(GRID, GRID, GRID)):
        files = [
            save_nifti(tmp_path / f"c_000{n}.nii.gz", array, affines[n]) for n, array in enumerate((first, second))
        ]
        return Case("c", "c", tuple(files), save_nifti(tmp_path / "c.nii.gz", label, affines[2]))

    return make


def test_channels_are_stacked_in_order(case):
    image = load_case_image(case(CUBE.astype(np.int16), (2 * CUBE).astype(np.int16)), 2)
    assert image.array.shape == (2, 2, 3, 4)
    assert image.array[:, 0, 0, 0].tolist() == [1, 2]
    assert image.array.dtype == np.int16
    assert image.spacing_mm == (3, 2, 1)


@pytest.mark.parametrize(("one", "other"), [(np.int32, np.float32), (np.float64, np.int16), (np.uint64, np.int64)])
def test_mixed_types_become_float32(case, one, other):
    image = load_case_image(case(CUBE.astype(one), (2 * CUBE).astype(other)), 2)
    assert image.array.dtype == np.float32
    assert image.array[:, 1, 2, 3].tolist() == [1, 2]


def test_label_lies_on_the_grid(case):
    label = CUBE.astype(np.uint8)
    label[1, 2, 3] = 7
    one = case(CUBE.astype(np.int16), CUBE.astype(np.int16), label)
    found, _ = load_case_label(one, load_case_image(one, 2))
    np.testing.assert_array_equal(found.array[0], label)
    with pytest.raises(DataError, match="Case c has no label"):
        load_case_label(Case("c", "c", one.channels), load_case_image(one, 2))


def test_a_twentieth_of_a_voxel_is_tolerated_and_more_refused(case):
    near = case(CUBE.astype(np.int16), CUBE.astype(np.int16), affines=(GRID, shifted(0.04), shifted(-0.04)))
    assert load_case_label(near, load_case_image(near, 2))[0].array.shape == (1, 2, 3, 4)
    far = case(CUBE.astype(np.int16), CUBE.astype(np.int16), affines=(GRID, shifted(0.06), GRID))
    with pytest.raises(DataError, match=r"0.06 voxels apart at a corner, the second is shifted by") as caught:
        load_case_image(far, 2)
    assert all(text in str(caught.value) for text in ("Case c", "c_0000.nii.gz", "c_0001.nii.gz", "Resample one"))
    assert caught.value.kind == "channel grid"


def test_other_shapes_are_refused(case):
    wrong = case(CUBE.astype(np.int16), CUBE.astype(np.int16), label=np.ones((1, 3, 4), np.uint8))
    with pytest.raises(DataError, match=r"shapes \(z, y, x\) \(2, 3, 4\) and \(1, 3, 4\)"):
        load_case_label(wrong, load_case_image(wrong, 2))


def test_the_number_of_channels_is_checked(case, tmp_path, save_nifti):
    with pytest.raises(DataError, match=r"hold 2 channels; expected 1"):
        load_case_image(case(CUBE.astype(np.int16), CUBE.astype(np.int16)), 1)
    both = save_nifti(tmp_path / "both.nii.gz", np.zeros((2, 2, 3, 4), np.int16))
    assert load_case_image(Case("b", "b", (both,)), 2).array.shape == (2, 2, 3, 4)
    with pytest.raises(DataError, match=r"both\.nii\.gz holds 2 channels; expected 3"):
        load_case_image(Case("b", "b", (both,)), 3)


def test_the_worst_difference_of_the_grids_is_known(case):
    near = case(CUBE.astype(np.int16), CUBE.astype(np.int16), affines=(GRID, shifted(0.04), shifted(-0.02)))
    loaded = load_case(near, 2)
    assert loaded.grid_difference_voxels == pytest.approx(0.04)
    assert not loaded.resampled


@pytest.mark.parametrize(("ignore", "outside"), [(None, 0), (255, 255)])
def test_a_label_on_another_grid_is_resampled_when_asked(case, ignore, outside):
    label = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3
    far = case(CUBE.astype(np.int16), CUBE.astype(np.int16), label, affines=(GRID, GRID, shifted(1)))
    with pytest.raises(DataError, match=r"1 voxels apart .*(?s:.*)--resample-labels") as caught:
        load_case(far, 2)
    assert caught.value.kind == "label grid"
    labels = Labels(structures={"one": 1, "two": 2}, ignore=ignore)
    loaded = load_case(far, 2, Reading(resample_labels=True), labels)
    assert loaded.resampled
    assert loaded.grid_difference_voxels == 0
    np.testing.assert_array_equal(loaded.label.array[0, :, :, 1:], label[:, :, :-1])
    assert (loaded.label.array[0, :, :, 0] == outside).all()
    assert loaded.label.same_grid(loaded.image, 1e-9)


def test_a_label_that_lies_elsewhere_is_not_resampled_to_nothing(case):
    label = np.ones((2, 3, 4), np.uint8)
    scan = CUBE.astype(np.int16)
    for ignore in (None, 255):
        labels = Labels(structures={"one": 1}, ignore=ignore)
        with pytest.raises(DataError, match=r"nothing of .* is left .*shifted by 50 mm") as caught:
            load_case(case(scan, scan, label, (GRID, GRID, shifted(50))), 2, Reading(resample_labels=True), labels)
        assert caught.value.kind == "label grid"
    empty = load_case(case(scan, scan, 0 * label, (GRID, GRID, shifted(50))), 2, Reading(resample_labels=True))
    assert not empty.label.array.any()


def test_a_mask_that_does_not_know_its_spacing_goes_with_a_scan_that_does(tmp_path, save_nifti, save_picture):
    scan = save_nifti(tmp_path / "c.nii.gz", np.zeros((1, 3, 4), np.int16), np.diag([0.5, 0.5, 2, 1]))
    mask = save_picture(tmp_path / "c.png", np.ones((3, 4)))
    loaded = load_case(Case("c", "c", (scan,), mask), 1)
    assert loaded.grid_difference_voxels == 0
    assert loaded.image.spacing_mm == (2, 0.5, 0.5)
    both = load_case_image(Case("c", "c", (mask, scan)), 2)
    assert both.spacing_mm == (2, 0.5, 0.5)
    small = save_picture(tmp_path / "d.png", np.ones((3, 3)))
    with pytest.raises(DataError, match="lie on different grids: shapes"):
        load_case(Case("c", "c", (scan,), small), 1, Reading(resample_labels=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_nan_and_infinity_are_refused_with_their_place(tmp_path, save_nifti, bad):
    array = np.zeros((2, 3, 4))
    array[1, 2, 3] = bad
    path = save_nifti(tmp_path / "a.nii.gz", array)
    with pytest.raises(DataError, match=r"a\.nii\.gz holds .* in 1 of 24 voxels, .* = \(0, 1, 2, 3\)") as caught:
        load_case_image(Case("a", "a", (path,)), 1)
    assert caught.value.kind == "not finite"


def time_series(path, unit: str) -> Case:
    image = nib.Nifti1Image(np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5), np.eye(4))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, path)
    return Case("t", "t", (path,))


@pytest.mark.parametrize(("unit", "what"), [("sec", "5 volumes, a time series"), ("unknown", "5 volumes")])
def test_volumes_are_channels_if_so_many_are_expected_else_need_a_frame(tmp_path, unit, what):
    case = time_series(tmp_path / "t.nii.gz", unit)
    assert load_case_image(case, 5).array.shape == (5, 4, 3, 2)
    with pytest.raises(
        DataError, match=f"holds {what}; expected 1 channel.\nChoose a point in time with --frame, 0 to 4"
    ):
        load_case_image(case, 1)
    frame = load_case_image(case, 1, Reading(frame=2))
    np.testing.assert_array_equal(frame.array[0], load_case_image(case, 5).array[2])
    with pytest.raises(DataError, match="has no frame 5"):
        load_case_image(case, 1, Reading(frame=5))


def test_where_nothing_is_declared_a_time_series_needs_a_frame(tmp_path):
    assert first_look(time_series(tmp_path / "a.nii.gz", "unknown")).array.shape[0] == 5
    series = time_series(tmp_path / "b.nii.gz", "sec")
    with pytest.raises(DataError, match="a time series"):
        first_look(series)
    assert first_look(series, Reading(frame=0)).array.shape[0] == 1


@pytest.mark.real
def test_a_real_label_of_fewer_slices_is_refused(data_dir):
    folder = data_dir / "ct_many_structures"
    case = Case("ct", "ct", (folder / "example_ct.nii.gz",), folder / "example_seg.nii.gz")
    image = load_case_image(case, 1)
    with pytest.raises(DataError, match=r"\(112, 101, 122\) and \(30, 101, 122\)"):
        load_case_label(case, image)
    assert isinstance(image, Image)


@pytest.mark.real
def test_two_real_channels(data_dir):
    case = find_cases(data_dir / "brain_tumour").cases[0]
    image = load_case_image(case, 2)
    assert (image.array.shape, image.array.dtype, image.spacing_mm) == ((2, 155, 240, 240), np.float32, (1, 1, 1))
    assert np.unique(load_case_label(case, image)[0].array).tolist() == [0, 1, 2, 3, 4]


def nan_edge(save_nifti, folder, marked: int) -> Case:
    """A scan whose first slice is NaN, and a label of 100 voxels, of which some lie there."""
    array = np.ones((5, 10, 10), np.float32)
    array[0] = np.nan
    label = np.zeros((5, 10, 10), np.uint8)
    label[0].flat[:marked] = 1
    label[1].flat[: 100 - marked] = 1
    scan, mask = save_nifti(folder / "a.nii.gz", array), save_nifti(folder / "a_seg.nii.gz", label)
    return Case("a", "a", (scan,), mask)


def test_nan_around_a_scan_is_outside_and_a_label_there_is_refused(tmp_path, save_nifti):
    loaded = load_case(nan_edge(save_nifti, tmp_path / "rim", 1), 1)
    assert (loaded.image.array[0, 0] == 0).all()
    assert "100 of 500 voxels are NaN" in loaded.image.warnings[0]
    case = nan_edge(save_nifti, tmp_path / "lost", 2)
    with pytest.raises(DataError, match=r"2 of the 100 voxels that .*a_seg\.nii\.gz marks as structures are NaN"):
        load_case(case, 1)
    assert load_case(case, 1, labels=Labels(structures={"two": 2}, ignore=1)), "what was not annotated is no structure"
