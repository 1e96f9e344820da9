"""Radiographs: each file is a case, and the views of a patient belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dicom.builders import ramp, uid, write_series
from dicom.studies import RADIOGRAPH, described, mask, radiograph

from medseg.core.errors import DataError
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.layouts.find import find_cases
from medseg.io.layouts.scans import find_scans
from medseg.io.layouts.studies import SeriesRules, studies_in


@pytest.mark.parametrize("one_series", [True, False])
def test_radiographs_in_one_folder_are_cases_of_their_own(tmp_path: Path, one_series: bool) -> None:
    for number in range(3):
        series = "all" if one_series else str(number)
        write_series(
            tmp_path,
            ramp(1),
            name=lambda _, number=number: f"x{number}.dcm",
            series=series,
            SeriesDescription=f"view {number}",
            **RADIOGRAPH,
        )
    assert studies_in(tmp_path) == {f"x{number}": tmp_path / f"x{number}.dcm" for number in range(3)}


def test_a_radiograph_beside_a_stack_or_alone_is_a_study_with_it(tmp_path: Path) -> None:
    write_series(tmp_path / "a", ramp(1), **RADIOGRAPH)
    assert studies_in(tmp_path / "a") == {"a": tmp_path / "a"}
    write_series(tmp_path / "a", ramp(3), series="stack", name="ct{}.dcm".format)
    assert studies_in(tmp_path / "a") == {"a": tmp_path / "a"}


def test_slices_without_positions_are_no_radiographs(tmp_path: Path) -> None:
    write_series(tmp_path / "a", ramp(3), ImagePositionPatient=None)
    assert studies_in(tmp_path / "a") == {"a": tmp_path / "a"}


LABELS_OF_VIEWS = {
    "in a folder of labels": ("images/", "labels/{patient}_{view}.png"),
    "in folders of labels": ("images/", "labels/{patient}/{view}.png"),
    "with a word for labels": ("images/", "masks/{patient}_{view}_mask.png"),
    "beside the views": ("", "{patient}/{view}_mask.png"),
    "of a name beside the views": ("", "{patient}/{view}.png"),
}


@pytest.mark.parametrize(("images", "label"), LABELS_OF_VIEWS.values(), ids=LABELS_OF_VIEWS)
def test_views_of_a_patient_are_cases_of_that_patient(tmp_path: Path, images: str, label: str) -> None:
    views = [(patient, view) for patient in ("p1", "p2") for view in ("ap", "lat")]
    for patient, view in views:
        radiograph(tmp_path / images / patient, view, StudyInstanceUID=uid(patient))
        mask(tmp_path / label.format(patient=patient, view=view))
    assert described(find_cases(tmp_path), tmp_path) == [
        (f"{patient}_{view}", patient, f"{images}{patient}/{view}.dcm", label.format(patient=patient, view=view))
        for patient, view in views
    ]
    cases, failed = find_scans(tmp_path / images, ["DX"])
    assert [(case.id, case.patient) for case in cases] == [(f"{p}_{v}", p) for p, v in views]
    assert not failed


def test_views_of_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for view in ("ap", "lat"):
        radiograph(tmp_path / "in" / "p1", view, StudyInstanceUID=uid("p1"))
        mask(tmp_path / "in" / "p1" / f"{view}.png")
    monkeypatch.chdir(tmp_path)
    for folder, ids in ((".", ["in_ap", "in_lat"]), ("in", ["p1_ap", "p1_lat"]), ("in/p1", ["ap", "lat"])):
        assert [case.id for case in find_cases(Path(folder)).cases] == ids
    assert {case.patient for case in find_cases(Path("in")).cases} == {"p1"}


def test_a_rule_chooses_among_the_views_of_a_patient(tmp_path: Path) -> None:
    for patient, view in [(patient, view) for patient in ("p1", "p2") for view in ("ap", "lat")]:
        radiograph(tmp_path / patient, view, StudyInstanceUID=uid(patient), ViewPosition=view.upper())
    cases, failed = find_scans(tmp_path, ["DX"], series_rules=SeriesRules(("ViewPosition=AP",)))
    assert [(case.id, parse_reference(case.channels[0]).container.name) for case in cases] == [
        ("p1", "p1"),
        ("p2", "p2"),
    ]
    assert not failed


def test_views_in_folders_of_their_own_and_named_by_uids(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        for number, view in enumerate(("ap", "lat"), start=1):
            folder = tmp_path / "named" / patient / "study" / view
            radiograph(folder, "image", StudyInstanceUID=uid(patient), SeriesNumber=number)
            name = f"1.2.840.113619.2.55.{number}.{patient[1]}"
            radiograph(tmp_path / "uids" / patient, name, StudyInstanceUID=uid(patient), SeriesNumber=number)
    assert [*studies_in(tmp_path / "named")] == ["p1_ap", "p1_lat", "p2_ap", "p2_lat"]
    assert [*studies_in(tmp_path / "uids")] == ["p1_1", "p1_2", "p2_1", "p2_2"]


@pytest.mark.parametrize("study", [{"StudyInstanceUID": "1.2.3"}, {}])
def test_radiographs_in_a_zip_are_cases_once_it_is_unpacked_as_the_hint_says(
    tmp_path: Path, study: dict[str, str]
) -> None:
    for name in ("ap", "lat"):
        radiograph(tmp_path / "p1", name, **study)
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "p1"))
    with pytest.raises(DataError, match="Unpack it and give the folder") as caught:
        find_scans(packed, ["DX"])
    assert "--series" in (caught.value.hint or "")
    cases, problems = find_scans(tmp_path / "p1", ["DX"])
    assert ([case.id for case in cases], problems) == (["ap", "lat"], {})
