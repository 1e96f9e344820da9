"""A case is answered from the model's channels or named, and every file beside them is used or named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sets.layout_files import touch

from medseg.core.errors import DataError
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans, unread_scans
from medseg.io.layouts.unread_entries import Unread

CASE_TELLS = pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take CT and ct for one name")


def made(folder: Path, names: str) -> Path:
    """Write empty scans."""
    touch(folder, *(f"{name}.nii.gz" for name in names.split()))
    return folder


def found(folder: Path, channels: list[str]) -> tuple[dict[str, list[str]], dict[str, str], Unread]:
    """Return the names of the files of each case, {case: why it is left out}, and what is not used."""
    cases, failed = find_scans(folder, channels)
    files = {case.id: [path.name.removesuffix(".nii.gz") for path in case.channels] for case in cases}
    return files, failed, unread_scans(folder, cases, failed, channels)


@pytest.mark.parametrize(
    ("names", "channels", "files", "lacks"),
    [
        ("p1/t1 p1/flair p2/t1", ["flair"], {"p1": ["flair"]}, "no flair; there is t1"),
        ("p1/p1_FLAIR p2/p2_T1", ["Flair"], {"p1": ["p1_FLAIR"]}, "no Flair; there is T1"),
        ("p1/flair p2/scan", ["flair"], {"p1": ["flair"]}, "no flair; there is scan"),
        ("p1/brain p1/other p2/other", ["brain"], {"p1": ["brain"]}, "no brain; there is other"),
        ("p1/image p1/other p2/other", ["image"], {"p1": ["image"]}, "no image; there is other"),
        ("p1/p1_0000 p1/p1_0001 p2/p2_0001", ["channel_0"], {"p1": ["p1_0000"]}, "no channel_0; there is 0001"),
        ("p1/scan p2/t1", ["flair"], {"p1": ["scan"]}, "no flair; there is t1"),
        ("p1/flair p1/t1 p2/t2", ["flair", "t1"], {"p1": ["flair", "t1"]}, "no flair and no t1; there is t2"),
        ("p1/scan p2/t2", ["flair", "t1"], {"p1": ["scan"]}, "no flair and no t1; there is t2"),
        ("p1_flair p1_t1 p2_t1", ["flair"], {"p1": ["p1_flair"]}, "no flair; there is t1"),
        ("flair-p1 t1-p1 t1-p2", ["flair"], {"p1": ["flair-p1"]}, "no flair; there is t1"),
        ("p1_flair p2_t1", ["flair"], {"p1": ["p1_flair"]}, "no flair; there is t1"),
        ("p1_flair p1_odd p2_odd", ["flair"], {"p1": ["p1_flair"]}, "no flair; there is odd"),
        ("p1_flair p1_seg p2_seg", ["flair"], {"p1": ["p1_flair"]}, "no flair; there is seg"),
        ("p1__CT p1__PT p2__PT", ["CT"], {"p1": ["p1__CT"]}, "no CT; there is PT"),
        ("p1 p2_mr", ["CT"], {"p1": ["p1"]}, "no CT; there is mr"),
        ("p1_flair p1_t1 p2_t2", ["flair", "t1"], {"p1": ["p1_flair", "p1_t1"]}, "no flair and no t1; there is t2"),
        ("images/p1 images/p2_t1", ["CT"], {"p1": ["p1"]}, "no CT; there is t1"),
    ],
)
def test_a_case_without_the_channel_is_named(tmp_path, names, channels, files, lacks):
    answered, failed, _ = found(made(tmp_path, names), channels)
    assert (answered, failed) == (files, {"p2": f"there is {lacks}"})


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        ("p1/t1 p2/t1", ["flair"]),
        ("p1_t1 p2_t1", ["flair"]),
        ("p1_t2", ["flair", "t1"]),
        ("sub-1/anat/sub-1_T1w sub-2/anat/sub-2_T1w", ["FLAIR"]),
        ("sub-1/ses-1/anat/sub-1_ses-1_T1w", ["CT"]),
    ],
)
def test_a_folder_of_another_modality_is_refused(tmp_path, names, channels):
    with pytest.raises(DataError, match=rf"no complete scan .*there is no {channels[0]}.*; there is [tT][12]"):
        find_scans(made(tmp_path, names), channels)


@pytest.mark.parametrize(
    ("names", "channels", "cases"),
    [
        ("p1/imaging p2/imaging", ["flair"], "p1 p2"),
        ("p1/brain p2/head", ["flair"], "p1 p2"),
        ("p1/p1 p2/p2", ["flair"], "p1 p2"),
        ("p1/t1 p2/t1", ["image"], "p1 p2"),
        ("p1/t1 p2/scan", ["image"], "p1 p2"),
        ("p1/image p2/scan", ["image"], "p1 p2"),
        ("p1/t1 p2/t1", ["channel_0"], "p1 p2"),
        ("p1/t1 p2/T1w", ["MRI"], "p1 p2"),
        ("p1/t1 p2/T1w", ["t1"], "p1 p2"),
        ("p1/t1 p2/t1", ["orig"], "p1 p2"),
        ("p1/flair p2/flair_2", ["flair"], "p1 p2"),
        ("p1/both p2/both", ["flair", "t1"], "p1 p2"),
        ("p1_ct p2", ["CT"], "p1_ct p2"),
        ("p1_flair p1_t1 stray", ["flair"], "p1 stray"),
        ("pt_01 pt_02", ["CT"], "pt_01 pt_02"),
        ("CT_1 CT_t1_2", ["CT"], "1 t1_2"),
        ("sub-1/anat/sub-1_FLAIR sub-2/anat/sub-2_acq-3D_FLAIR", ["FLAIR"], "sub-1 sub-2"),
        ("sub-1/anat/sub-1_T1w", ["image"], "sub-1"),
        ("t1_0000 ct_0000", ["flair"], "ct t1"),
    ],
)
def test_a_file_that_may_be_the_channel_is_used(tmp_path, names, channels, cases):
    answered, failed, unread = found(made(tmp_path, names), channels)
    assert ([*answered], failed, unread.lost, unread.readable) == (cases.split(), {}, {}, [])
    assert ("p1_t1" in "".join(unread.notes)) == ("p1_t1" in names.split() and "stray" in names)


@pytest.mark.parametrize(
    ("names", "channel", "files"),
    [
        ("p1_ct p1-ct p2_ct p2_mr", "ct", ("p1-ct", "p1_ct")),
        ("p1_ct ct_p1 p2_ct p2_mr", "ct", ("ct_p1", "p1_ct")),
        pytest.param("p1_CT p1_ct p2_ct p2_mr", "ct", ("p1_CT", "p1_ct"), marks=CASE_TELLS),
        pytest.param("p1/CT p1/ct p2/ct", "ct", ("CT", "ct"), marks=CASE_TELLS),
        pytest.param("p1/p1_CT p1/p1_ct p2/ct", "Ct", ("p1_CT", "p1_ct"), marks=CASE_TELLS),
        ("p1/channel_0 p1/0000 p2/0000", "channel_0", ("0000", "channel_0")),
    ],
)
def test_two_files_for_one_channel_are_named(tmp_path, names, channel, files):
    answered, failed, _ = found(made(tmp_path, names), [channel])
    assert [*answered] == ["p2"]
    both = " and ".join(f"{name}.nii.gz" for name in files)
    assert failed == {"p1": f"{both} claim to be the {channel} of this one case; keep one"}


@pytest.mark.parametrize("names", ["p1_0007 p1_0007_0000 p2", "images/p1_0007 images/p1_0007_0000 images/p2"])
def test_a_number_and_the_same_number_with_a_channel_are_named(tmp_path, names):
    answered, failed, _ = found(made(tmp_path, names), ["CT"])
    assert [*answered] == ["p2"]
    assert failed == {"p1_0007": "p1_0007.nii.gz and p1_0007_0000.nii.gz claim to be one case; keep one"}


@pytest.mark.parametrize("where", ["", "test"])
@pytest.mark.parametrize(
    "further", ["p1_ct_2 p2_ct_followup", "p1-ct-b p2_old_ct_1", "p1_2_ct_x", "p1_CT_2 p2_ct0_ct_b"]
)
def test_a_further_file_of_a_channel_is_passed_over_by_name(tmp_path, further, where):
    made(tmp_path / where, f"p1_ct p2_ct {further}")
    if where:  # the part of a split that is to be answered
        made(tmp_path / "train", "p7_ct")
    answered, failed, unread = found(tmp_path, ["ct"])
    assert (answered, failed) == ({"p1": ["p1_ct"], "p2": ["p2_ct"]}, {})
    names = {f"{name}.nii.gz" for name in further.split()}
    assert {path.name for path in unread.readable} == names
    assert all(any(name in note for note in unread.notes) for name in names)


def test_a_case_that_fails_hides_no_file_of_another(tmp_path):
    _, failed, unread = found(made(tmp_path, "2_ct 2-ct p1_ct p1_ct_2"), ["ct"])
    assert [*failed] == ["2"]
    assert [path.name for path in unread.readable] == ["p1_ct_2.nii.gz"]


@pytest.mark.parametrize(
    ("names", "channels", "others", "first"),
    [
        ("p1_flair p1_t1 p1_v3", ["flair", "t1"], "v3 (1)", "p1_v3"),
        ("p1_flair p1_t1 p2_flair p2_t1", ["flair"], "t1 (2)", "p1_t1"),
        ("p1_T1 p1_seg p1_dwi p1_flair p1_T1_overlay", ["T1"], "dwi (1), flair (1)", "p1_dwi"),
        ("p1 p1_mr p2", ["CT"], "mr (1)", "p1_mr"),
        ("images/p1 images/p1_mr", ["CT"], "mr (1)", "p1_mr"),
    ],
)
def test_files_of_other_channels_share_a_note(tmp_path, names, channels, others, first):
    _, failed, unread = found(made(tmp_path, names), channels)
    (note,) = unread.notes
    assert (failed, unread.lost, unread.readable) == ({}, {}, [])
    assert f": {others}; the first is " in note
    assert note.endswith(f"{first}.nii.gz")


@pytest.mark.parametrize("names", ["p1_ct p1-ct", "ct_p1 p1_ct", "p1_ct p1-ct p1.ct"])
def test_plan_names_two_files_for_one_channel(tmp_path, names):
    data = find_cases(made(tmp_path, f"{names} p2_ct p3_ct p1_seg p2_seg p3_seg"))
    assert [case.id for case in data.cases] == ["p2", "p3"]
    (problem,) = data.problems
    both = " and ".join(f"{name}.nii.gz" for name in sorted(names.split()))
    assert problem == f"p1: {both} claim to be the ct of this one case; keep one"


def test_plan_uses_a_case_with_two_files_that_are_no_channel(tmp_path):
    data = find_cases(made(tmp_path, "p1_ct p1_x p1-x p2_ct p3_ct p1_seg p2_seg p3_seg"))
    assert [case.id for case in data.cases] == ["p1", "p2", "p3"]
    assert any("not used: x (1)" in note for note in data.problems)
