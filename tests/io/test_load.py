"""The files of a case as one image on one grid."""

import numpy as np
import pytest

from medseg.case import Case
from medseg.errors import DataError
from medseg.image import Image
from medseg.io.layouts import find_cases
from medseg.io.load import load_case_image, load_case_label

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
    found = load_case_label(one, load_case_image(one, 2))
    np.testing.assert_array_equal(found.array[0], label)
    with pytest.raises(DataError, match="Case c has no label"):
        load_case_label(Case("c", "c", one.channels), load_case_image(one, 2))


def test_a_twentieth_of_a_voxel_is_tolerated_and_more_refused(case):
    near = case(CUBE.astype(np.int16), CUBE.astype(np.int16), affines=(GRID, shifted(0.04), shifted(-0.04)))
    assert load_case_label(near, load_case_image(near, 2)).array.shape == (1, 2, 3, 4)
    far = case(CUBE.astype(np.int16), CUBE.astype(np.int16), affines=(GRID, shifted(0.06), GRID))
    with pytest.raises(DataError, match=r"0.06 voxels apart at a corner, affines") as caught:
        load_case_image(far, 2)
    assert all(text in str(caught.value) for text in ("Case c", "c_0000.nii.gz", "c_0001.nii.gz", "Resample one"))


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
    assert np.unique(load_case_label(case, image).array).tolist() == [0, 1, 2, 3, 4]
