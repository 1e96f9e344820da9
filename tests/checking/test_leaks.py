"""Cases that may stand on both sides of a split."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.checking.leaks import PATIENT_PATTERN, check_leaks
from medseg.core.case import Case
from medseg.io.layouts.dataset import DataSet


def cases_called(*names, folder=Path("set")):
    return [Case(name, name, (folder / "imagesTr" / f"{name}_0000.nii.gz",), folder / "l.nii.gz") for name in names]


def found(cases, folder=Path("nowhere")):
    return check_leaks(DataSet(folder, "nnunet", ("MR",), None, list(cases), []))


@pytest.fixture
def folder(tmp_path, save_nifti):
    for name in ("one", "two", "three"):
        save_nifti(tmp_path / f"imagesTr/{name}_0000.nii.gz", np.full((2, 3, 4), ord(name[1]), np.uint8))
    return tmp_path


@pytest.mark.parametrize("place", ["imagesTs", "test/images", "validation_set"])
def test_a_file_that_is_held_back_too_is_named(folder, place):
    (folder / place).mkdir(parents=True)
    shutil.copyfile(folder / "imagesTr/two_0000.nii.gz", folder / place / "other.nii.gz")
    (finding,) = found(cases_called("one", "two", "three", folder=folder), folder)
    assert (finding.kind, finding.case, finding.file) == ("two folders", "two", folder / place / "other.nii.gz")
    assert "is the same file as" in finding.message


@pytest.mark.parametrize("place", ["labelsTs", "results", "imagesTr/old", "derivatives/test"])
def test_labels_and_other_folders_are_not_looked_at(folder, place):
    (folder / place).mkdir(parents=True)
    shutil.copyfile(folder / "imagesTr/two_0000.nii.gz", folder / place / "other.nii.gz")
    assert found(cases_called("one", "two", "three", folder=folder), folder) == []


def test_names_that_are_held_back_too_are_one_finding(folder, save_nifti):
    for name in ("one", "two", "four"):
        save_nifti(folder / f"imagesTs/{name}_0000.nii.gz", np.full((2, 3, 4), 99, np.uint8))
    (finding,) = found(cases_called("one", "two", "three", folder=folder), folder)
    assert (finding.kind, finding.case) == ("two folders", "")
    assert "one, two (2 in all)" in finding.message or "two, one (2 in all)" in finding.message


def test_names_that_share_a_patient_are_pointed_out():
    names = [f"P{patient:02d}-slice-{number:03d}.dcm" for patient in range(4) for number in range(3)]
    (finding,) = found(cases_called(*names))
    assert (finding.kind, finding.case) == ("grouped names", "")
    assert "12 cases fall into 4 groups" in finding.message
    assert "P00 has 3 (P00-slice-000.dcm, P00-slice-001.dcm, ...)" in finding.message
    assert PATIENT_PATTERN in finding.remedy
    known = [replace(case, patient=case.id[:3]) for case in cases_called(*names)]
    assert found(known) == []


@pytest.mark.parametrize(
    "names",
    [
        [f"hippocampus_{number:03d}" for number in range(12)],
        [f"BraTS2021_{number:05d}" for number in range(12)],
        [f"train_brats_2013_pat{number:04d}_1" for number in range(12)],
        [f"{number:02d}" for number in range(12)],
        ["1740b0a67ca3", "0c2550a23b8a", "1f9e429c12f4", "4d09672bcf5a"],
        ["left", "right"],
    ],
)
def test_names_that_only_count_are_not(names):
    assert found(cases_called(*names)) == []
