"""Every folder of real DICOM: read or refused as the docs say, and read as two independent converters read it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom.odd_series import DATA, HEADING, SETS, folders, table
from paths import DOCS

from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

PAGE = DOCS / "dicom" / "dicom-examples.md"
WELL_FORMED = (
    "dicom_odd/failing/slicecount/001",
    "dicom_odd/generic/anatomical/002_non_isotropic",
    "dicom_odd/generic/compressed_j2k/001",
    "dicom_odd/generic/compressed_jpeg/001",
    "dicom_odd/generic/compressed_jpegls/001",
    "dicom_odd/generic/compressed_rle/001",
    "dicom_odd/hyperfine/anatomical/001",
    "dicom_odd/siemens_multiframe/anatomical/001",
    "dicom_seg",
    "hippocampus_dicom/mr_study1",
    "hippocampus_dicom/mr_study2",
    "lung_ct_dicom/pat_2",
    "lung_ct_dicom/pat_3",
)

pytestmark = pytest.mark.real


def test_every_folder_is_read_or_refused_as_the_docs_say():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    documented = [line for line in lines if line.startswith(tuple(f"| `{name}" for name in SETS))]
    assert table() == [*HEADING, *documented]


def test_well_formed_series_are_read():
    read = []
    for folder in folders():
        series = find_series(folder).series
        if series and not any(one.problems for one in series):
            read.append(folder.relative_to(DATA).as_posix())
    assert sorted(read) == sorted(WELL_FORMED)


def canonical(array, affine):
    """Voxels and affine with axes in RAS+ order: converters turn rows round."""
    turned = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(array, np.float64), affine))
    return np.asarray(turned.dataobj), turned.affine


def check_same(folder, converted):
    (series,) = find_series(DATA / folder).series
    image = read_volume(series).image
    array, affine = canonical(image.array[0].T, image.affine)
    theirs, their_affine = canonical(converted.dataobj, converted.affine)
    np.testing.assert_allclose(affine, their_affine, atol=1e-4)  # NIfTI holds float32, and they average positions
    np.testing.assert_allclose(array, theirs, rtol=1e-6, atol=0)


def copied(folder, target):
    """The slices of a series alone: converters trip over other files."""
    (series,) = find_series(DATA / folder).series
    target.mkdir()
    for number, path in enumerate(dict.fromkeys(slice_.file.path for slice_ in series.slices)):
        shutil.copy(path, target / f"{number}.dcm")
    return target


@pytest.mark.parametrize("folder", WELL_FORMED)
def test_as_dcm2niix(tmp_path, folder):
    program = shutil.which("dcm2niix") or shutil.which("dcm2niix", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("dcm2niix is not installed")
    source = copied(folder, tmp_path / "in")
    command = [program, "-b", "n", "-z", "n", "-m", "y", "-f", "converted", "-o", tmp_path, source]
    subprocess.run(command, check=True, capture_output=True)
    check_same(folder, nib.load(tmp_path / "converted.nii"))


@pytest.mark.parametrize("folder", WELL_FORMED)
def test_as_dicom2nifti(tmp_path, folder):
    dicom2nifti = pytest.importorskip("dicom2nifti")
    dicom2nifti.settings.disable_validate_slicecount()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom2nifti.dicom_series_to_nifti(copied(folder, tmp_path / "in"), tmp_path / "out.nii", reorient_nifti=False)
    check_same(folder, nib.load(tmp_path / "out.nii"))
