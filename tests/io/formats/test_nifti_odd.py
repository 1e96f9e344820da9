"""Every file of a collection of odd ones: read as nibabel reads it, or refused with a message, as the docs say."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from odd_table import NIFTI_ODD, as_nibabel_reads_it, files, row, same_as_nibabel
from paths import DOCS, HELPERS

from medseg.core.errors import DataError
from medseg.io.images import read_image, read_stack

PAGE = DOCS / "data" / "formats-odd-files.md"
NOT_SCALAR = ("complex32.nii", "complex64.nii", "4D.nii", "row_major.dconn.nii")

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore:Invalid spacing declaration"),
]


def test_every_file_is_read_as_the_docs_say():
    pytest.importorskip("h5py")
    documented = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(("| `misc", "| `typed"))
    ]
    assert [row(path) for path in files()] == documented


def test_what_is_read_is_what_nibabel_reads():
    pytest.importorskip("h5py")
    read, refused = [], []
    for path in files():
        try:
            read_image(path)
            read.append(path)
        except DataError:
            refused.append(path)
    by_nibabel = [path for path in read if not path.name.startswith("minimal2")]
    assert len(by_nibabel) == 39
    assert [path.name for path in by_nibabel if not same_as_nibabel(path, read_stack(path))] == []
    for path in refused:  # nothing that nibabel reads as a scalar volume
        if path.name not in NOT_SCALAR:
            with pytest.raises(Exception, match=r"."):
                as_nibabel_reads_it(path)


def test_a_pair_of_which_only_the_data_is_packed():
    """nibabel wants both packed or neither; the same volume lies beside it in one file."""
    whole = read_image(NIFTI_ODD / "typed/minimal.nii")
    for name in ("minimal2.hdr", "minimal2.img.gz"):
        image = read_image(NIFTI_ODD / "typed" / name)
        np.testing.assert_array_equal(image.array, whole.array)
        np.testing.assert_array_equal(image.affine, whole.affine)


def test_headers_that_crashed_readers_are_refused_under_every_name(tmp_path):
    damaged = sorted((NIFTI_ODD / "typed/fuzz_artifacts").iterdir())
    assert len(damaged) == 5
    for path in damaged:
        for name in ("a.nii", "a.nii.gz", "a.hdr", "a.mgz", "a.nrrd", "a.mha", "a.gipl", "a.tif", "a.png", "a.mnc"):
            (tmp_path / name).write_bytes(path.read_bytes())
            with pytest.raises(DataError, match=rf"{name}"):
                read_image(tmp_path / name)


def test_a_frame_of_a_time_series_is_that_volume():
    path = NIFTI_ODD / "misc/functional.nii"
    image = read_image(path, frame=7)
    np.testing.assert_array_equal(image.array[0], np.asarray(nib.load(path).dataobj)[..., 7].T.astype(np.float32))


def test_the_table_is_printed():
    script = HELPERS / "odd_table.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == len(files()) + 2


def test_what_nnunet_takes_for_the_spacing(tmp_path):
    """NibabelIO takes the numbers of the header, SimpleITKIO turns them into mm as medseg does."""
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.diag([500, 500, 1000, 1]))
    for unit, spacing, nnunet in (("mm", (1000, 500, 500), None), ("micron", (1, 0.5, 0.5), (1000, 500, 500))):
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / f"{unit}.nii")
        read = read_image(tmp_path / f"{unit}.nii")
        assert (read.spacing_mm, read.nnunet_spacing) == (pytest.approx(spacing), nnunet)


@pytest.mark.parametrize("too_long", [0.0, 1e-7, 5e-7, 1e-6, 1e-5, 1e-4])
def test_a_qform_that_rounding_made_too_long_is_read_as_a_rotation(tmp_path, too_long):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_data_dtype(np.uint8)
    header["pixdim"][:4] = (1, 0.5, 0.5, 3)
    header["qform_code"], header["sform_code"] = 1, 0
    quaternion = np.array([0, 0.6, 0.8]) * np.sqrt(1 + too_long)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + bytes(4) + bytes(120))
    affine = read_image(path).affine
    b, c, d = 0, 0.6, 0.8  # half turn about (b, c, d): 2 v v^T - 1
    rotation = 2 * np.outer((b, c, d), (b, c, d)) - np.eye(3)
    np.testing.assert_allclose(affine[:3, :3], rotation * (0.5, 0.5, 3), atol=1e-3)
