"""Folders and zips of DICOM as cases: which are studies, and which series is which channel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom.builders import ramp, uid, write_enhanced, write_series
from dicom.studies import described, mr, radiograph, study

from medseg.core.case import read_cases, write_cases
from medseg.core.errors import DataError
from medseg.io.dicom.listing.locate import series_at
from medseg.io.formats.table import answer_suffix, is_dicom
from medseg.io.images import read_image
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans
from medseg.io.layouts.studies import SeriesRules, parse_rules, studies_in
from medseg.io.several_files import files_of


def test_a_folder_and_a_zip_of_one_name_are_two_studies(tmp_path: Path) -> None:
    study(tmp_path, "p1")
    with zipfile.ZipFile(tmp_path / "p1.zip", "w") as archive:
        for file in study(tmp_path.parent / "zipped", "z").iterdir():
            archive.write(file, file.name)
    assert studies_in(tmp_path) == {"p1": tmp_path / "p1", "p1.zip": tmp_path / "p1.zip"}


def test_a_study_is_found_among_other_files(tmp_path: Path) -> None:
    write_series(tmp_path / "p1", name="IM{}".format)
    for number in range(60):
        (tmp_path / "p1" / f"A{number}").write_text("notes")
    assert [*studies_in(tmp_path)] == [*studies_in(tmp_path / "p1")] == ["p1"]


def test_folders_and_zips_inside_are_studies(tmp_path: Path) -> None:
    study(tmp_path, "p1")
    inner = study(tmp_path, "p2/deep/within")
    assert inner.is_dir()
    with zipfile.ZipFile(tmp_path / "p3.zip", "w") as archive:
        for file in study(tmp_path.parent / "zipped", "z").iterdir():
            archive.write(file, f"DICOM/{file.stem}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("none")
    assert [*studies_in(tmp_path)] == ["p1", "p2", "p3"]


def test_files_right_in_the_folder_make_it_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "p1"
    write_series(folder, name=lambda number: f"slice{number}")  # no extension
    assert studies_in(folder) == {"p1": folder}


def test_a_folder_for_each_series_of_one_study(tmp_path: Path) -> None:
    folder = tmp_path / "case7"
    for number in (1, 2):
        mr(folder / f"series{number}", "case7", "t1", number)
    assert studies_in(folder) == {"case7": folder}


def test_images_of_other_formats_are_no_studies(tmp_path: Path, save_nifti) -> None:
    save_nifti(tmp_path / "imagesTr" / "a.nii.gz", np.zeros((2, 2, 2)))
    assert studies_in(tmp_path) == {}
    assert studies_in(tmp_path / "imagesTr") == {}


def test_a_study_is_a_case_by_its_folder(tmp_path: Path) -> None:
    study(tmp_path, "p1")
    cases, failed = find_scans(tmp_path, ["CT"])
    assert not failed
    (case,) = cases
    assert (case.id, case.attributes) == ("p1", {"series": "the only series of modality CT"})
    (path,) = case.channels
    assert is_dicom(path)
    assert answer_suffix(path) == ".nii.gz"
    assert len(files_of(path)) == 5
    assert read_image(path).shape_zyx == (5, 4, 6)


def test_the_table_of_cases_keeps_series(tmp_path: Path) -> None:
    study(tmp_path, "p1")
    cases, _ = find_scans(tmp_path, ["CT"])
    write_cases(tmp_path / "t.csv", cases, tmp_path)
    assert "p1,p1,p1#" in (tmp_path / "t.csv").read_text()
    assert read_cases(tmp_path / "t.csv", tmp_path) == cases


def test_a_zip_is_a_case(tmp_path: Path) -> None:
    folder = study(tmp_path / "x", "p1")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    (case,), _ = find_scans(tmp_path / "scan.zip", ["CT"])
    assert case.id == "scan"
    assert files_of(case.channels[0]) == [tmp_path / "scan.zip"]
    assert read_image(case.channels[0]).array[0, 2, 1, 3] == 213


def test_scans_of_other_formats_beside_studies(tmp_path: Path, save_nifti) -> None:
    study(tmp_path, "p1")
    save_nifti(tmp_path / "other.nii.gz", np.zeros((2, 2, 2), np.int16))
    cases, failed = find_scans(tmp_path, ["CT"])
    assert [case.id for case in cases] == ["other", "p1"]
    assert not failed


def test_a_study_with_another_scan_in_it_leaves_open_which_is_meant(tmp_path: Path, save_nifti) -> None:
    study(tmp_path, "p1")
    study(tmp_path, "p2")
    save_nifti(tmp_path / "p1" / "scan.nii.gz", np.zeros((2, 2, 2), np.int16))
    cases, failed = find_scans(tmp_path, ["CT"])
    assert [case.id for case in cases] == ["p2"]
    assert "may be the scan" in failed["p1"]


def test_several_series_are_refused_with_the_list_and_chosen_by_rule(tmp_path: Path) -> None:
    for number, description in ((3, "t1 mprage"), (4, "t2 space")):
        mr(tmp_path / "p1", "p1", description, number)
    with pytest.raises(DataError) as caught:
        find_scans(tmp_path / "p1", ["MR"])
    assert '"t1 mprage"' in str(caught.value)
    assert '"t2 space"' in str(caught.value)
    assert "Doe" not in str(caught.value)
    (case,), _ = find_scans(tmp_path / "p1", ["MR"], series_rules=SeriesRules(("SeriesDescription~T2",)))
    assert case.attributes["series"] == "the only series that fits SeriesDescription~T2"
    with pytest.raises(DataError, match=r"(?s)no series that fits 'SeriesNumber=9'.*t1 mprage"):
        find_scans(tmp_path / "p1", ["MR"], series_rules=SeriesRules(("SeriesNumber=9",)))


def test_each_channel_has_its_rule(tmp_path: Path) -> None:
    for number, description in ((3, "t1 mprage"), (4, "flair")):
        mr(tmp_path / "p1", "p1", description, number)
    channels = ["T1", "FLAIR"]
    with pytest.raises(DataError, match="which of its series are the channels T1, FLAIR"):
        find_scans(tmp_path / "p1", channels)
    _, rules = parse_rules(["flair:SeriesDescription~flair", "T1:3"], channels)
    (case,), _ = find_scans(tmp_path / "p1", channels, series_rules=SeriesRules(rules))
    first, second = (read_image(path) for path in case.channels)
    assert first.same_grid(second)
    assert case.attributes["series"].startswith("T1: the only series that fits 3; FLAIR: ")
    with pytest.raises(DataError, match="chosen for several channels"):
        find_scans(tmp_path / "p1", channels, series_rules=SeriesRules(("3", "3")))


@pytest.mark.parametrize(
    ("given", "channels", "message"),
    [
        (["A:1", "A:2"], ["A", "B"], "is the second for it"),
        (["A:1"], ["A", "B"], "no --series for the channel B"),
        (["C:1", "A:2"], ["A", "B"], "there are A, B"),
        (["1", "2"], (), "does not say which channel it is for"),
    ],
)
def test_rules_that_do_not_say_for_which_channel(given, channels, message) -> None:
    with pytest.raises(DataError, match=message):
        parse_rules(given, channels)


def test_a_rule_may_hold_a_colon() -> None:
    assert parse_rules(["SeriesDescription~a:b"], ["CT"]) == (("CT",), ("SeriesDescription~a:b",))
    assert parse_rules(["T1:1", "T2:SeriesDescription~x:y"]) == (("T1", "T2"), ("1", "SeriesDescription~x:y"))


def test_one_that_cannot_be_read_is_named_with_its_reason_and_option(tmp_path: Path) -> None:
    study(tmp_path, "good")
    heights = [0.0, 3.0, 9.0, 12.0, 15.0]
    write_series(tmp_path / "gap", series="gap", StudyInstanceUID=uid("gap"), move=lambda k: (0.0, 0.0, heights[k]))
    cases, failed = find_scans(tmp_path, ["CT"])
    assert [case.id for case in cases] == ["good"]
    assert "missing" in failed["gap"]
    assert "--allow-gaps" in failed["gap"]
    from medseg.io.dicom.elements.options import DicomOptions

    cases, failed = find_scans(tmp_path, ["CT"], series_rules=SeriesRules((), DicomOptions(allow_gaps=True)))
    assert [case.id for case in cases] == ["gap", "good"]


def test_one_slice_of_many_is_refused(tmp_path: Path) -> None:
    folder = study(tmp_path, "p1")
    with pytest.raises(DataError, match=r"is one of the 5 slices of series 4 \"thorax\""):
        find_scans(folder / "IM0002.dcm", ["CT"])


@pytest.mark.real
def test_data_sets_of_other_formats_are_left_to_other_readers(data_dir: Path) -> None:
    for name in ("hippocampus", "nuclei", "brain_tumour"):
        assert studies_in(data_dir / name) == {}
    assert [*studies_in(data_dir / "hippocampus_dicom")] == ["mr_study1", "mr_study2"]


def test_multi_frame_files_of_several_studies_are_cases_and_of_one_study_are_one(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        for folder, study_of in (("several", name), ("one", "one")):
            positions = [(0, 0, 3.0 * k) for k in range(4)]
            path = tmp_path / folder / f"{name}.dcm"
            write_enhanced(path, ramp(4), positions, series=name, StudyInstanceUID=uid(study_of))
    assert [*studies_in(tmp_path / "several")] == ["m1", "m2"]
    assert [*studies_in(tmp_path / "one")] == ["one"]


@pytest.mark.parametrize("kind", ["plain", "multi-frame", "folder", "zip"])
@pytest.mark.parametrize("by", ["patterns", "table"])
def test_dicom_by_patterns_and_by_a_table(tmp_path: Path, kind: str, by: str, save_nifti) -> None:
    suffix = {"plain": ".dcm", "multi-frame": ".dcm", "folder": "", "zip": ".zip"}[kind]
    for name in ("c1", "c2"):
        folder = tmp_path / "images"
        if kind == "plain":
            radiograph(folder, name)
        elif kind == "multi-frame":
            write_enhanced(folder / f"{name}.dcm", ramp(4), [(0, 0, 3.0 * k) for k in range(4)], series=name)
        elif kind == "folder":
            study(folder, name)
        else:
            folder.mkdir(exist_ok=True)
            with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
                for file in study(tmp_path / "unpacked", name).iterdir():
                    archive.write(file, file.name)
        save_nifti(tmp_path / "labels" / f"{name}.nii.gz", np.zeros((6, 4, 5), np.uint8))
    if by == "patterns":
        naming = Naming(images=(f"images/*{suffix}",), labels="labels/*.nii.gz")
    else:
        rows = [f"{name},images/{name}{suffix},labels/{name}.nii.gz\n" for name in ("c1", "c2")]
        (tmp_path / "my.csv").write_text("id,image,label\n" + "".join(rows))
        naming = Naming(table=tmp_path / "my.csv")
    data = find_cases(tmp_path, naming=naming)
    modality = {"plain": "DX", "multi-frame": "MR"}.get(kind, "CT")
    assert data.channels == (modality,)
    assert described(data, tmp_path) == [
        (name, name, f"images/{name}{suffix}", f"labels/{name}.nii.gz") for name in ("c1", "c2")
    ]
    if by == "patterns":
        cases, failed = find_scans(tmp_path, [modality], patterns=[f"images/*{suffix}"])
        assert [case.channels for case in cases] == [case.channels for case in data.cases]
        assert not failed


@pytest.mark.parametrize("by", ["patterns", "table"])
def test_rules_choose_the_series_of_patterns_and_tables(tmp_path: Path, by: str, save_nifti) -> None:
    for name in ("c1", "c2"):
        for number, description in ((3, "t1 mprage"), (4, "t2 space")):
            mr(tmp_path / name / "mr", name, description, number)
        save_nifti(tmp_path / name / "seg.nii.gz", np.zeros((6, 4, 5), np.uint8))
    naming = Naming(images=("*/mr",), labels="*/seg.nii.gz", series=("SeriesDescription~t2",))
    if by == "table":
        rows = [f"{name},{name}/mr,{name}/seg.nii.gz\n" for name in ("c1", "c2")]
        (tmp_path / "my.csv").write_text("id,t2,label\n" + "".join(rows))
        naming = Naming(table=tmp_path / "my.csv", series=("SeriesDescription~t2",))
    data = find_cases(tmp_path, naming=naming)
    assert [series_at(case.channels[0]).description for case in data.cases] == ["t2 space"] * 2
    assert data.series_rules == ("SeriesDescription~t2",)


def test_one_slice_of_a_series_named_by_a_pattern_is_refused(tmp_path: Path, save_nifti) -> None:
    study(tmp_path, "c1")
    save_nifti(tmp_path / "c1" / "seg.nii.gz", np.zeros((6, 4, 5), np.uint8))
    with pytest.raises(DataError, match="is one of the 5 slices"):
        find_cases(tmp_path, naming=Naming(images=("*/IM0002.dcm",), labels="*/seg.nii.gz"))
