"""Listings of folders and zips: series, their volumes, other objects, files left out; series by rule and by path."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import warnings

import numpy as np
import pydicom
import pytest
from dicom.builders import ramp, write_series, write_structured_report

from medseg.core.errors import Cancelled, DataError
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.locate import instance_files, series_at
from medseg.io.dicom.listing.rules import matching_series
from medseg.io.dicom.pixels.volume import read_volume


def test_a_folder_of_everything(tmp_path):
    write_series(tmp_path / "deep" / "er", name=lambda k: f"{k}", series="one")
    write_series(tmp_path, name=lambda k: f"I{k}.IMA", series="two", SeriesNumber=2, SeriesDescription="T2 tra")
    write_series(tmp_path / "scout", ramp(1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], series="scout")
    write_series(tmp_path / "sc", ramp(1), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", series="screen",
                 ImagePositionPatient=None)  # fmt: skip
    write_structured_report(tmp_path / "SR001")
    colours = np.zeros((1, 4, 6, 3), np.uint8)
    colours[..., 0] = 9
    write_series(
        tmp_path / "us", colours, Rows=4, Columns=6, SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=0, series="colour",
    )  # fmt: skip
    (tmp_path / "notes.txt").write_text("not DICOM " * 100)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "short.dcm").write_bytes(b"DICM")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "I0.IMA").read_bytes()[:300])
    (tmp_path / "shorter.dcm").write_bytes((tmp_path / "I0.IMA").read_bytes()[:400])
    (tmp_path / "packed.dcm.gz").write_bytes(gzip.compress((tmp_path / "I0.IMA").read_bytes()))
    (tmp_path / "notes.txt.gz").write_bytes(gzip.compress(b"notes" * 99))
    (tmp_path / ".hidden.dcm").write_bytes((tmp_path / "I0.IMA").read_bytes())
    listing = find_series(tmp_path)
    assert [(one.number, one.description, one.folder) for one in listing.series] == [
        (2, "T2 tra", "."),
        (4, "thorax", "deep/er"),
    ]
    why = {one.file: one.reason for one in listing.left_out}
    assert why["scout/IM0000.dcm"] == "localizer"
    assert why["sc/IM0000.dcm"] == "secondary capture"
    assert why["us/IM0000.dcm"] == "colour image"
    assert why["SR001"] == "structured report"
    assert why["notes.txt"] == why["notes.txt.gz"] == "no DICOM"
    assert why["packed.dcm.gz"] == "damaged: packed.dcm.gz is DICOM packed with gzip; gunzip unpacks it."
    assert why["empty.dcm"] == why["short.dcm"] == "damaged: no DICOM in spite of its name, as if it was cut off"
    assert why["cut.dcm"].startswith("damaged")
    damaged = ["cut.dcm", "empty.dcm", "packed.dcm.gz", "short.dcm", "shorter.dcm"]
    assert [one.file for one in listing.damaged] == damaged
    assert ".hidden.dcm" not in why
    assert [(one.modality, one.file.name) for one in listing.objects if one.modality == "SR"] == [("SR", "SR001")]
    assert listing.counts()["no DICOM"] == 2


def test_there_is_nothing(tmp_path):
    assert find_series(tmp_path).series == ()
    with pytest.raises(DataError, match="There is no file or folder"):
        find_series(tmp_path / "absent")


def test_a_single_file(tmp_path):
    paths = write_series(tmp_path)
    (series,) = find_series(paths[3]).series
    assert series.shape_zyx == (1, 4, 6)


def test_copies_of_files_count_once(tmp_path):
    paths = write_series(tmp_path)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "copy").write_bytes(paths[1].read_bytes())
    listing = find_series(tmp_path)
    assert listing.series[0].shape_zyx[0] == 5
    assert listing.series[0].problems == ()
    assert listing.counts() == {"copy of another file": 1}


def test_one_instance_with_two_contents_is_doubled(tmp_path):
    paths = write_series(tmp_path)
    found = pydicom.dcmread(paths[1])
    found.PixelData = found.PixelData[::-1]
    found.save_as(tmp_path / "other.dcm")
    (series,) = find_series(tmp_path).series
    assert [problem.kind for problem in series.problems] == ["doubled slices"]


def test_a_listing_is_kept_until_something_changes(tmp_path):
    write_series(tmp_path)
    first = find_series(tmp_path)
    assert find_series(tmp_path) is first
    write_series(tmp_path, ramp(6))
    assert find_series(tmp_path).series[0].shape_zyx[0] == 6


def test_a_listing_can_be_cancelled(tmp_path):
    write_series(tmp_path)

    def stop(event):
        raise Cancelled

    with pytest.raises(Cancelled):
        find_series(tmp_path, stop)


def test_a_dicomdir(tmp_path):
    from pydicom.fileset import FileSet

    write_series(tmp_path / "in")
    made = FileSet()
    for path in sorted((tmp_path / "in").iterdir()):
        found = pydicom.dcmread(path)
        found.StudyDate, found.StudyTime, found.StudyID = "20200101", "120000", "1"
        made.add(found)
    made.write(tmp_path / "disc")
    for source in (tmp_path / "disc", tmp_path / "disc" / "DICOMDIR"):
        listing = find_series(source)
        np.testing.assert_array_equal(read_volume(listing.series[0]).image.array[0], ramp())
        assert listing.counts() == {"DICOMDIR": 1}


def test_a_pipe_in_a_folder_is_not_opened(tmp_path):
    write_series(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert len(find_series(tmp_path).series) == 1


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_series(folder / "a", series="a", SeriesNumber=2, SeriesDescription="T1 tra")
    write_series(folder / "b", series="b", SeriesNumber=3, SeriesDescription="t2_tra, fs", Modality="MR", EchoTime=80)
    write_series(
        folder / "c", ramp(9), series="c", SeriesNumber=12, SeriesDescription="T2 cor", Modality="MR", EchoTime=90
    )
    return folder


@pytest.fixture(scope="module")
def study(study_folder):
    return find_series(study_folder)


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ("3", [3]),
        ("Modality=MR", [3, 12]),
        ("modality = mr , SeriesDescription ~ cor", [12]),
        ("SeriesDescription~^t2", [3, 12]),
        ("SeriesDescription=t2_tra, fs,Modality=MR", [3]),
        ("Modality!=MR", [2]),
        ("EchoTime>85", [12]),
        ("EchoTime<=80", [3]),
        ("Slices>5", [12]),
        ("ImageType=PRIMARY,Plane=axial", [2, 3, 12]),
        ("ImageType!=PRIMARY", []),
        ("Rows=4", [2, 3, 12]),
        ("99", []),
    ],
)
def test_series_by_rule(study, rule, numbers):
    assert [one.number for one in matching_series(study, rule)] == numbers


def test_series_by_key_and_uid(study):
    for one in study.series:
        assert matching_series(study, one.key) == matching_series(study, one.uid) == [one]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "empty"),
        ("T2 tra", "not a condition"),
        ("SeriesDescripton~T2", "SeriesDescription"),
        ("SeriesDescription~(", "regular expression"),
        ("EchoTime>long", "not a number"),
    ],
)
def test_invalid_rules_are_refused(study, rule, told):
    with pytest.raises(DataError, match=told):
        matching_series(study, rule)


def test_a_reference_is_a_path(study, study_folder):
    one = study.series[1]
    path = one.path
    assert path.name == f"{study_folder.name}#{one.key}"
    assert parse_reference(path).key == one.key
    assert series_at(path) == one
    assert sorted(instance_files(path)) == sorted((study_folder / "b").iterdir())
    assert parse_reference(study_folder / "image.nii.gz") is None
    assert parse_reference(study_folder / "odd#name.dcm") is None


def test_a_reference_to_a_missing_series(tmp_path):
    write_series(tmp_path)
    with pytest.raises(DataError, match="no series with the key 0123456789; it holds series 4"):
        series_at(tmp_path.with_name(f"{tmp_path.name}#0123456789"))


def test_without_pydicom_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from pathlib import Path\n"
        "from medseg.core.errors import DataError\n"
        "from medseg.io.dicom.listing.find import find_series\n"
        "try:\n    find_series(Path(sys.argv[1]))\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert "pip install '" in done.stdout
    assert "[dicom]'" in done.stdout


def test_warnings_are_as_they_were_after_threads_have_read(tmp_path):
    write_series(tmp_path, ramp(30))
    before = list(warnings.filters)
    find_series(tmp_path)
    assert warnings.filters == before


def test_files_that_look_a_little_like_dicom(tmp_path):
    write_series(tmp_path)
    for name, start in (
        ("a", b"\x08\x00"),
        ("b", b"\x02\x00\x01\x02"),
        ("c", b"\x00\x08\x00\x05CS"),
        ("d", b"\x08\x00\x05\x00"),
    ):
        (tmp_path / name).write_bytes(start + bytes(range(256)) * 4)
    listing = find_series(tmp_path)
    assert [one.file for one in listing.left_out if one.reason == "no DICOM"][:2] == ["a", "b"]
    assert len(listing.left_out) == 4
