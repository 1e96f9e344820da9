"""Formats that are only read: MRC and VTK through SimpleITK, PAR/REC through nibabel. Answers to them are NIfTI."""

from __future__ import annotations

import locale
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.testing import data_path

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.io.formats.table import answer_suffix, is_image
from medseg.io.images import header_notes, read_image, read_label, read_stack, write_label
from medseg.io.several_files import files_of

PHANTOM = "phantom_EPI_asc_CLEAR_2_1"
VTK = """# vtk DataFile Version 3.0
title
ASCII
DATASET STRUCTURED_POINTS
DIMENSIONS 3 2 2
SPACING 0.5 0.75 2
ORIGIN 1 2 3
POINT_DATA 12
SCALARS scalars short 1
LOOKUP_TABLE default
"""


def save(path: Path, array: np.ndarray, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((10, -20, 30.5))
    sitk.WriteImage(image, str(path))
    return image


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".mrc", dtype) for dtype in ("u1", "i2", "u2", "f4")]
    + [(".vtk", dtype) for dtype in ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8")],
)
def test_as_itk_writes_it(tmp_path, suffix, dtype):
    array = (np.random.default_rng(0).random((4, 3, 2)) * 100).astype(dtype)
    expected = Image.from_sitk(save(tmp_path / f"a{suffix}", array))
    image = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.array[0], array.astype("f4") if dtype == "f8" else array)
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-5)
    assert image.spacing_mm == (2, 0.75, 0.5)
    assert answer_suffix(tmp_path / f"a{suffix}") == ".nii.gz"
    assert is_image(tmp_path / f"a{suffix}")
    if dtype[0] != "f":
        write_label(tmp_path / "answer.nii.gz", image, like=tmp_path / f"a{suffix}")
        answer = read_label(tmp_path / "answer.nii.gz")
        np.testing.assert_array_equal(answer.array, image.array)
        assert image.same_grid(answer)


@pytest.mark.parametrize("suffix", [".mrc", ".vtk"])
def test_colours_are_channels(tmp_path, suffix):
    array = np.arange(4 * 3 * 2 * 3, dtype=np.uint8).reshape(4, 3, 2, 3)
    save(tmp_path / f"a{suffix}", array, vector=True)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").array, np.moveaxis(array, -1, 0))


def test_the_unit_of_mrc_is_named(tmp_path):
    save(tmp_path / "a.mrc", np.zeros((4, 3, 2), np.uint8))
    assert "whose unit is the angstrom" in read_image(tmp_path / "a.mrc").notes[0]


def test_complex_mrc_is_refused(tmp_path):
    data = bytearray(1024 + 8 * 24)
    data[0:16] = np.array([4, 3, 2, 4], "<i4").tobytes()  # sizes, and mode 4: complex numbers
    data[28:52] = np.array([4, 3, 2], "<i4").tobytes() + np.array([4, 3, 2], "<f4").tobytes()
    data[64:76] = np.array([1, 2, 3], "<i4").tobytes()
    data[208:216] = b"MAP DD\0\0"
    (tmp_path / "a.mrc").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.mrc holds pixels of the type 'complex"):
        read_image(tmp_path / "a.mrc")


def test_reading_vtk_leaves_the_locale_of_the_process_alone(tmp_path):
    before = locale.setlocale(locale.LC_ALL)
    (tmp_path / "a.vtk").write_text(VTK + " ".join(map(str, range(12))))
    read_image(tmp_path / "a.vtk")
    assert locale.setlocale(locale.LC_ALL) == before


def test_vtk_in_text(tmp_path):
    (tmp_path / "a.vtk").write_text(VTK + " ".join(map(str, range(12))))
    image = read_image(tmp_path / "a.vtk")
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.array[0], np.arange(12).reshape(2, 2, 3))
    np.testing.assert_allclose(image.affine, [[-0.5, 0, 0, -1], [0, -0.75, 0, -2], [0, 0, 2, 3], [0, 0, 0, 1]])


def test_meshes_are_no_images(tmp_path):
    (tmp_path / "mesh.vtk").write_text("# vtk DataFile Version 3.0\ntitle\nASCII\nDATASET POLYDATA\nPOINTS 0 float\n")
    assert not is_image(tmp_path / "mesh.vtk")
    with pytest.raises(DataError, match="not STRUCTURED_POINTS"):
        read_image(tmp_path / "mesh.vtk")


@pytest.mark.parametrize("missing_bytes", [1, 30])
@pytest.mark.parametrize("suffix", [".mrc", ".vtk"])
def test_files_that_are_cut_off_are_refused(tmp_path, suffix, missing_bytes):
    save(tmp_path / f"a{suffix}", np.ones((4, 3, 2), np.int16))
    whole = (tmp_path / f"a{suffix}").read_bytes()
    # ITK ends a VTK file with a line break
    (tmp_path / f"a{suffix}").write_bytes(whole[: -missing_bytes - whole.endswith(b"\n")])
    with pytest.raises(DataError, match=rf"a\{suffix} is incomplete: its header declares 2 x 3 x 4"):
        read_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VTK + "0 1 2 3 4 5 6 7 8 9 10", "is incomplete"),
        (VTK + "0 1 2 3 x 5 6 7 8 9 10 11", "could not convert string to float"),
        (VTK.replace("3 2 2", "3000 2000 2000") + "0 1 2", "its header declares 3000 x 2000 x 2000"),
        (VTK.replace("3 2 2", "3 0 2") + "0 1 2", r"its sizes are \(3, 0, 2\)"),
        (VTK.replace("SCALARS", "NORMALS") + "0 1 2", "it has no field SCALARS"),
        (VTK.replace("0.5", "0") + "0 1 2 3 4 5 6 7 8 9 10 11", r"cannot be read|without an inverse"),
    ],
)
def test_odd_vtk_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.vtk").write_text(text)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.vtk")


@pytest.mark.parametrize("named", [".PAR", ".REC"])
def test_parrec_is_read_as_nibabel_reads_it(tmp_path, named):
    for suffix in (".PAR", ".REC"):
        shutil.copy(Path(data_path) / (PHANTOM + suffix), tmp_path / ("scan" + suffix))
    expected = nib.load(tmp_path / "scan.PAR")
    stack = read_stack(tmp_path / f"scan{named}")
    assert stack.in_time
    np.testing.assert_array_equal(stack.array[:, 0].T, np.asarray(expected.dataobj))
    np.testing.assert_array_equal(stack.affine, expected.affine)
    assert {path.name for path in files_of(tmp_path / f"scan{named}")} == {"scan.PAR", "scan.REC"}
    assert [path.suffix for path in sorted(tmp_path.iterdir()) if is_image(path)] == [".REC"]


def test_half_a_pair_is_refused(tmp_path):
    shutil.copy(Path(data_path) / f"{PHANTOM}.PAR", tmp_path / "scan.par")
    with pytest.raises(DataError, match=r"there is no scan\.rec beside it"):
        read_image(tmp_path / "scan.par")
    (tmp_path / "scan.rec").write_bytes((Path(data_path) / f"{PHANTOM}.REC").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"is incomplete: its header declares 64 x 64 x 27"):
        read_image(tmp_path / "scan.par")
    (tmp_path / "scan.par").unlink()
    with pytest.raises(DataError, match=r"there is no scan\.par beside it"):
        read_image(tmp_path / "scan.rec")


def test_a_tomogram_that_is_called_rec(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    save(tmp_path / "a.mrc", array)
    (tmp_path / "a.mrc").rename(tmp_path / "a.rec")
    np.testing.assert_array_equal(read_image(tmp_path / "a.rec").array[0], array)
    assert files_of(tmp_path / "a.rec") == [tmp_path / "a.rec"]
    assert header_notes(tmp_path / "a.rec") == []
