"""Label maps as NIfTI: the type, the geometry and the header of the scan that they answer."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from builders import OBLIQUE

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats import nifti
from medseg.io.formats.named.segment import Segment
from medseg.io.images import read_image, read_label, write_label


def label_image(values: object, affine: np.ndarray = OBLIQUE, dtype: type = np.int32) -> Image:
    return Image(np.asarray(values, dtype=dtype)[np.newaxis], affine)


@pytest.mark.parametrize(
    ("values", "dtype"), [([0, 255], np.uint8), ([0, 256], np.uint16), ([-1, 3], np.int8), ([0, 70000], np.uint32)]
)
def test_labels_are_written_in_the_smallest_type(tmp_path, values, dtype):
    write_label(tmp_path / "a.nii.gz", label_image([[values]]))
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == dtype
    assert read_label(tmp_path / "a.nii.gz").array.ravel().tolist() == values


def test_written_without_reference(tmp_path):
    image = label_image(np.arange(24).reshape(2, 3, 4))
    write_label(tmp_path / "out" / "a.nii.gz", image)
    saved = nib.load(tmp_path / "out" / "a.nii.gz")
    assert (int(saved.header["sform_code"]), int(saved.header["qform_code"])) == (1, 0)  # sheared: no qform can say it
    assert saved.header.get_xyzt_units()[0] == "mm"
    again = read_label(tmp_path / "out" / "a.nii.gz")
    assert image.same_grid(again, 1e-5)
    np.testing.assert_array_equal(again.array, image.array)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.nii.gz"]


def test_written_without_shear_both_forms_agree(tmp_path):
    affine = np.array([[-2.0, 0, 0, 5], [0, 0, 3, 6], [0, 4, 0, 7], [0, 0, 0, 1]])
    write_label(tmp_path / "a.nii", label_image(np.ones((2, 3, 4)), affine))
    header = nib.load(tmp_path / "a.nii").header
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-6)
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
    assert int(header["qform_code"]) == 1


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("unit", ["mm", "micron", "unknown"])
def test_the_answer_has_the_geometry_fields_of_the_scan(tmp_path, kind, unit):
    scan = kind(np.zeros((4, 3, 2, 5), np.float32), None)
    scan.header.set_sform(OBLIQUE, code=4)
    scan.header.set_qform(np.diag([-1.0, 1, 2, 1]), code=2)  # disagrees with the sform, and is kept all the same
    scan.header.set_xyzt_units(unit, "sec")
    scan.header["cal_max"] = 77
    nib.save(scan, tmp_path / "scan.nii.gz")
    grid = read_image(tmp_path / "scan.nii.gz")
    write_label(
        tmp_path / "a.nii.gz", Image(np.ones((1, 2, 3, 4), np.int64), grid.affine), like=tmp_path / "scan.nii.gz"
    )
    answer, scan = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "scan.nii.gz")
    assert type(answer) is kind
    assert answer.shape == (4, 3, 2)
    np.testing.assert_array_equal(answer.get_sform(), scan.get_sform())
    np.testing.assert_array_equal(answer.get_qform(), scan.get_qform())
    assert [int(answer.header[key]) for key in ("sform_code", "qform_code")] == [4, 2]
    assert answer.header.get_xyzt_units()[0] == unit
    assert answer.header["cal_max"] == 0  # the window of the scan means nothing for labels
    assert read_label(tmp_path / "a.nii.gz").same_grid(grid)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_names_are_read_again_and_a_file_without_any_has_none(tmp_path, kind, suffix):
    nib.save(kind(np.zeros((3, 2, 1), np.float32), np.eye(4)), tmp_path / "scan.nii.gz")
    labels = Image(np.array([0, 1, 2, 0, 0, 2], np.uint8).reshape(1, 1, 2, 3), np.eye(4))
    named = [Segment("liver", 1), Segment("spleen", 2)]
    for name, segments in ("named", named), ("plain", []):
        path = tmp_path / f"{name}{suffix}"
        write_label(path, labels, tmp_path / "scan.nii.gz", segments)
        assert [(segment.name, segment.value) for segment in nifti.segments(path)] == [
            (segment.name, segment.value) for segment in segments
        ]


def test_a_2d_scan_is_answered_in_2d(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 3), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    labels = np.arange(12).reshape(1, 3, 4)
    write_label(tmp_path / "a.nii.gz", label_image(labels, np.eye(4)), like=tmp_path / "scan.nii.gz")
    saved = nib.load(tmp_path / "a.nii.gz")
    assert saved.shape == (4, 3)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), labels[0].T)


def test_a_reference_on_another_grid_is_refused(tmp_path, save_nifti):
    scan = save_nifti(tmp_path / "scan.nii.gz", np.zeros((2, 3, 4), np.int16), np.diag([1.0, 1, 2, 1]))
    with pytest.raises(DataError, match=r"another grid than .*scan\.nii\.gz"):
        write_label(tmp_path / "a.nii.gz", label_image(np.ones((2, 3, 4)), np.eye(4)), like=scan)
    assert not (tmp_path / "a.nii.gz").exists()


def test_a_reference_in_another_format_gives_no_header(tmp_path, save_picture):
    scan = save_picture(tmp_path / "scan.png", np.zeros((3, 4)))
    write_label(tmp_path / "a.nii.gz", label_image(np.ones((1, 3, 4)), np.eye(4)), like=scan)
    assert read_label(tmp_path / "a.nii.gz").array.sum() == 12


def test_equal_labels_give_equal_bytes(tmp_path):
    image = label_image(np.arange(24).reshape(2, 3, 4))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label(tmp_path / name, image)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:4] == b"\x5c\x01\x00\x00"
