"""DICOM studies with labels as a data set."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom.builders import ramp, save, uid, write_series
from dicom.label_builders import box, grid, rtstruct, seg

from medseg.core.case import Case
from medseg.io.layouts.dataset import Naming
from medseg.io.layouts.find import find_cases, is_data_set
from medseg.io.layouts.study_labels import by_patient_id
from medseg.io.load import load_case
from medseg.plans.sections.reading import Reading

SHAPE = ramp().shape


def study(folder: Path, name: str, **changes) -> None:
    write_series(folder, series=name, StudyInstanceUID=uid(name), **changes)


def contours(path: Path, name: str, z: int = 1, **rois) -> Path:
    return save(rtstruct(rois or {"GTV": [box(0.5, 0.5, 3.5, 2.5, z)]}, grid(SHAPE), series=name), path)


def test_studies_with_an_rtstruct_each(tmp_path: Path) -> None:
    for number, name in enumerate(("p1", "p2")):
        study(tmp_path / name / "ct", name)
        contours(tmp_path / name / "rs" / "x.dcm", name, z=number)
    assert is_data_set(tmp_path)
    data = find_cases(tmp_path)
    assert (data.layout, data.channels, [case.id for case in data.cases]) == ("dicom", ("CT",), ["p1", "p2"])
    assert data.cases[0].attributes == {"series": "the series that the labels refer to"}
    loaded = load_case(data.cases[1], 1, Reading(segments={"GTV": 1}))
    assert np.argwhere(loaded.label.array[0]).tolist() == [[1, y, x] for y in (1, 2) for x in (1, 2, 3)]
    assert loaded.image.array[0, 1, 1, 1] == 111


def test_the_series_that_the_labels_refer_to_is_taken_among_several(tmp_path: Path) -> None:
    for number in (1, 2):
        study(tmp_path / "p1" / str(number), f"s{number}", SeriesNumber=number)
    contours(tmp_path / "p1" / "rs.dcm", "s2")
    (case,) = find_cases(tmp_path).cases
    from medseg.io.dicom.listing.locate import series_at

    assert series_at(case.channels[0]).number == 2


def test_images_beside_labels_by_name(tmp_path: Path, save_nifti) -> None:
    for name in ("p1", "p2", "p3"):
        study(tmp_path / "images" / name, name, PatientID=name)
    save_nifti(tmp_path / "labels" / "p1.nii.gz", np.zeros(SHAPE, np.uint8), grid(SHAPE).affine)
    frames = [(1, (10, 20, 30), np.ones(SHAPE[1:], np.uint8))]
    save(seg(frames, ["GTV"], series="p2"), tmp_path / "labels" / "p2.seg.dcm")
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["p1", "p2"]
    assert [case.label.name for case in data.cases if case.label] == ["p1.nii.gz", "p2.seg.dcm"]
    assert len(data.problems) == 1
    assert data.problems[0].startswith("p3: there is no label")
    for case in data.cases:
        load_case(case, 1, Reading(segments={"GTV": 1}))


def test_the_only_other_image_in_a_study_is_its_label(tmp_path: Path, save_nifti) -> None:
    study(tmp_path / "p1", "p1")
    save_nifti(tmp_path / "p1" / "drawn.nii.gz", np.zeros(SHAPE, np.uint8), grid(SHAPE).affine)
    (case,) = find_cases(tmp_path).cases
    assert case.label == tmp_path / "p1" / "drawn.nii.gz"


def test_a_folder_of_nifti_with_dicom_beside_is_read_as_before(tmp_path: Path, save_nifti) -> None:
    for name in ("p1", "p2"):
        study(tmp_path / name / "dicom", name)
        save_nifti(tmp_path / name / "scan.nii.gz", np.zeros(SHAPE))
        save_nifti(tmp_path / name / "seg.nii.gz", np.zeros(SHAPE, np.uint8))
    data = find_cases(tmp_path)
    assert data.layout == "folders"
    assert [case.channels[0].name for case in data.cases] == ["scan.nii.gz"] * 2


def test_several_labels_are_named_and_chosen(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        study(tmp_path / name, name)
        contours(tmp_path / name / "rs.dcm", name)
    save(seg([(1, (10, 20, 30), np.ones((4, 6), np.uint8))], ["liver"], series="p1"), tmp_path / "p1" / "seg.dcm")
    data = find_cases(tmp_path)
    assert [case.id for case in data.cases] == ["p2"]
    assert data.problems[0].startswith(
        'p1: it has 2 labels: rs.dcm (RTSTRUCT "drawn": GTV); seg.dcm (SEG "drawn": liver)'
    )
    chosen = find_cases(tmp_path, naming=Naming(labels="RTSTRUCT"))
    assert [case.label.name for case in chosen.cases if case.label] == ["rs.dcm", "rs.dcm"]


def test_channels_are_named_by_rules(tmp_path: Path) -> None:
    for number, description in ((1, "t1"), (2, "flair")):
        study(tmp_path / "p1" / description, description, SeriesNumber=number, SeriesDescription=description)
    contours(tmp_path / "p1" / "rs.dcm", "t1")
    rules = ("T1:SeriesDescription~t1", "FLAIR:SeriesNumber=2")
    data = find_cases(tmp_path, naming=Naming(series=rules))
    assert data.channels == ("T1", "FLAIR")
    assert data.series_rules == ("SeriesDescription~t1", "SeriesNumber=2")
    assert len(data.cases[0].channels) == 2


def test_a_table_may_name_the_folders_of_studies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        study(tmp_path / "dicom" / name, name)
        contours(tmp_path / "drawn" / f"{name}.dcm", name)
    (tmp_path / "cases.csv").write_text(
        "id,CT,label,site\nA,dicom/a,drawn/a.dcm,x\nB,dicom/b,drawn/b.dcm,y\nC,dicom/c,drawn/a.dcm,y\n"
    )
    data = find_cases(tmp_path)
    assert (data.layout, data.channels) == ("table", ("CT",))
    assert [(case.id, case.attributes["site"]) for case in data.cases] == [("A", "x"), ("B", "y")]
    assert data.problems == ["C: cases.csv, line 4: there is no image file " + str(tmp_path / "dicom/c")]
    assert load_case(data.cases[1], 1, Reading(segments={"GTV": 1})).label.array.any()


def test_a_zip_of_a_study_with_its_label(tmp_path: Path) -> None:
    study(tmp_path / "x", "p1")
    contours(tmp_path / "x" / "rs.dcm", "p1")
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set" / "p1.zip", "w") as archive:
        for file in (tmp_path / "x").iterdir():
            archive.write(file, f"DICOM/{file.name}")
    data = find_cases(tmp_path / "set")
    assert [case.label for case in data.cases] == [tmp_path / "set" / "p1.zip" / "DICOM" / "rs.dcm"]
    assert load_case(data.cases[0], 1, Reading(segments={"GTV": 1})).label.array.sum() == 6


def test_label_objects_alone_are_no_data_set(tmp_path: Path) -> None:
    contours(tmp_path / "p1.dcm", "p1")
    assert not is_data_set(tmp_path)


@pytest.mark.real
def test_two_lungs(data_dir: Path) -> None:
    data = find_cases(data_dir / "lung_ct_dicom")
    assert [(case.id, case.label.name) for case in data.cases if case.label] == [
        ("pat_2", "DCM_RS_00041.dcm"),
        ("pat_3", "DCM_RS_00046.dcm"),
    ]
    volumes = []
    for case in data.cases:
        loaded = load_case(case, 1, Reading(segments={"GTV-1": 1}))
        assert loaded.image.array.min() >= -1000
        volumes.append(float(loaded.label.array.sum() * (loaded.image.voxel_volume_ml or 0)))
    assert volumes == pytest.approx([6.46, 11.59], abs=0.01)


def test_studies_of_one_patient_id_are_one_patient_who_is_not_named(tmp_path: Path) -> None:
    for name, patient in (("s1", "4711"), ("s2", "0815"), ("s3", "4711"), ("s4", "")):
        study(tmp_path / name / "ct", name, PatientID=patient)
        contours(tmp_path / name / "rs" / "x.dcm", name)
    data = find_cases(tmp_path)
    assert [case.patient for case in data.cases] == ["s1", "s2", "s1", "s4"]
    assert "the 4 studies are of 3 patients, by PatientID: one patient is in one fold" in data.problems
    assert not any("4711" in text for text in data.problems)


@pytest.mark.parametrize(
    ("patients", "ids", "expected"),
    [
        ("abcd", "AA__", "aacd"),
        ("aabc", "XYYX", "aaaa"),  # a folder of two studies brings two identifiers together
        ("ab0b", "XX_Y", "aa0a"),
    ],
)
def test_identifiers_and_folders_are_followed_to_the_end(patients: str, ids: str, expected: str) -> None:
    cases = [Case(str(number), patient, ()) for number, patient in enumerate(patients)]
    found, _ = by_patient_id(cases, {str(number): id.strip("_") for number, id in enumerate(ids)})
    assert "".join(case.patient for case in found) == expected


def test_one_patient_id_for_all_says_nothing(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        study(tmp_path / name / "ct", name, PatientID="ANONYMOUS")
        contours(tmp_path / name / "rs" / "x.dcm", name)
    data = find_cases(tmp_path)
    assert [case.patient for case in data.cases] == ["s1", "s2"]
    cases, notes = by_patient_id(data.cases, {"s1": "A", "s2": ""})
    assert (cases, notes) == (data.cases, [])
    assert any("2 studies have one PatientID" in text for text in data.problems)
