"""Listings of folders and zips: series, their volumes, other objects, files left out; series by rule and by path."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pydicom
import pytest
from dicom.builders import MR, item, ramp, write_enhanced, write_series, write_structured_report

from medseg.core.errors import Cancelled, DataError
from medseg.io.dicom.elements.files import read_member
from medseg.io.dicom.elements.paths import parse_reference
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.locate import instance_files, series_at
from medseg.io.dicom.listing.rules import matching_series
from medseg.io.dicom.pixels.volume import read_volume


def splits(folder):
    return [one.volume_name for one in find_series(folder).series]


def repeated(folder, times, each, **changes):
    """A series with `times` slices at each of three positions; `each(volume, slice)` gives what differs."""
    array = np.concatenate([ramp(3) + 1000 * volume for volume in range(times)])
    return write_series(
        folder,
        array,
        move=lambda k: (0, 0, 3 * (k % 3)),
        each=lambda k: each(k // 3, k % 3),
        SOPClassUID=MR,
        Modality="MR",
        **changes,
    )


# --- folders ---


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


# --- zips ---


def packed(folder, target):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"study/{path.relative_to(folder)}")
    return target


def test_a_zip_reads_as_the_folder_does(tmp_path):
    write_series(tmp_path / "in")
    (tmp_path / "in" / "readme.txt").write_text("hello")
    target = packed(tmp_path / "in", tmp_path / "study.zip")
    (series,) = find_series(target).series
    np.testing.assert_array_equal(read_volume(series).image.array[0], ramp())
    assert series.key == find_series(tmp_path / "in").series[0].key
    assert series.attributes["SeriesDescription"] == "thorax"
    assert instance_files(series.path) == [target]


@pytest.mark.parametrize("name", ["../out.dcm", "/etc/out.dcm", "a\\b.dcm"])
def test_a_zip_that_leads_out_of_itself(tmp_path, name):
    target = tmp_path / "bad.zip"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match=r"bad\.zip holds"):
        find_series(target)


def test_a_zip_that_declares_too_much(tmp_path):
    target = tmp_path / "bomb.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1000))
    data = bytearray(target.read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (1 << 31).to_bytes(4, "little")
    target.write_bytes(data)
    with pytest.raises(DataError, match="zip bomb"):
        find_series(target)


def test_a_damaged_zip(tmp_path):
    write_series(tmp_path / "in")
    target = packed(tmp_path / "in", tmp_path / "study.zip")
    data = bytearray(target.read_bytes())
    for place in range(200, len(data) - 2000, 97):
        data[place] ^= 0x55
    target.write_bytes(data)
    listing = find_series(target)
    assert len(listing.left_out) >= 1
    with pytest.raises(DataError, match="no longer holds 'absent'"):
        read_member(target, "absent")


# --- one series, several volumes ---


@pytest.mark.parametrize(
    ("each", "names"),
    [
        (lambda v, k: {"DiffusionBValue": 500.0 * v}, ["b=0", "b=500", "b=1000"]),
        (lambda v, k: {"EchoNumbers": v + 1, "EchoTime": 10.0 * v}, ["echo 1", "echo 2", "echo 3"]),
        (lambda v, k: {"EchoTime": 10.0 * v + 5}, ["echo 1", "echo 2", "echo 3"]),
        (lambda v, k: {"TemporalPositionIdentifier": v + 1}, ["time 1", "time 2", "time 3"]),
        (lambda v, k: {"TriggerTime": 40.0 * v + 7 * k}, ["time 1", "time 2", "time 3"]),
        (lambda v, k: {"AcquisitionTime": f"1200{v:02d}.{k:03d}"}, ["time 1", "time 2", "time 3"]),
        (lambda v, k: {"AcquisitionNumber": v + 1}, ["acquisition 1", "acquisition 2", "acquisition 3"]),
        (lambda v, k: {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"[v]]}, ["magnitude", "phase", "real"]),
    ],
)
def test_a_series_is_split_into_volumes_by_the_attribute_that_differs(tmp_path, each, names):
    repeated(tmp_path, 3, each)
    listing = find_series(tmp_path)
    assert [one.volume_name for one in listing.series] == names
    assert len({one.key for one in listing.series}) == 3
    for volume, series in enumerate(listing.series):
        np.testing.assert_array_equal(read_volume(series).image.array[0], ramp(3) + 1000 * volume)


def test_b_values_of_one_vendor_and_directions(tmp_path):
    def each(volume, k):
        direction = [[1, 0, 0], [0, 1, 0], [0, 0, 1]][volume - 1] if volume else None
        found = {"DiffusionBValue": 1000.0 if volume else 0.0}
        return {**found, "DiffusionGradientOrientation": direction} if direction else found

    repeated(tmp_path, 4, each)
    assert splits(tmp_path) == ["b=0", "b=1000, direction 1", "b=1000, direction 2", "b=1000, direction 3"]


def test_slices_that_nothing_tells_apart_stay_together(tmp_path):
    repeated(tmp_path, 2, lambda v, k: {})
    assert splits(tmp_path) == [""]


def test_repetitions_of_one_slice_are_no_volumes(tmp_path):
    write_series(
        tmp_path, move=lambda k: (0, 0, 0), each=lambda k: {"AcquisitionNumber": k, "AcquisitionTime": f"12{k:04d}"}
    )
    (series,) = find_series(tmp_path).series
    assert series.problems[0].message.startswith("no volume: all slices lie at one position")


def test_one_repeated_slice_does_not_split_the_series(tmp_path):
    write_series(tmp_path, move=lambda k: (0, 0, 3 * min(k, 3)), each=lambda k: {"AcquisitionNumber": k + 1})
    (series,) = find_series(tmp_path).series
    assert [problem.kind for problem in series.problems] == ["doubled slices"]


def test_the_more_specific_attribute_is_tried_first(tmp_path):
    """Trace images differ from b=0 in their type, too."""
    kinds = (["DIFFUSION", "NONE"], ["DIFFUSION", "TRACEW"], ["DIFFUSION", "TRACEW"])
    repeated(tmp_path, 3, lambda v, k: {"ImageType": ["ORIGINAL", "PRIMARY", *kinds[v]], "DiffusionBValue": 400.0 * v})
    assert splits(tmp_path) == ["b=0", "b=400", "b=800"]


def test_an_image_type_that_differs_does_not_split_a_volume(tmp_path):
    write_series(tmp_path, each=lambda k: {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", *["ADD"] * (k % 2)]})
    assert splits(tmp_path) == [""]


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("EchoTime", (10.0, 80.0), ["echo 1", "echo 2"]),
        ("ConvolutionKernel", ("B30", "B70"), ["kernel B30", "kernel B70"]),
        ("EchoTime", (80.0, 80.1), [""]),
        ("TriggerTime", (10.0, 80.0), [""]),
    ],
)
def test_contrasts_taken_in_turns_are_split_even_where_positions_differ(tmp_path, keyword, values, names):
    write_series(tmp_path, ramp(8), each=lambda k: {keyword: values[k % 2]})
    assert [one.volume_name for one in find_series(tmp_path).series] == names


def test_a_pipe_in_a_folder_is_not_opened(tmp_path):
    write_series(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert len(find_series(tmp_path).series) == 1


def test_stacks_and_times_of_a_multi_frame_file(tmp_path):
    frames = [(stack, time, k) for time in (1, 2) for stack in ("1", "2") for k in range(3)]
    array = np.stack([ramp(3)[k] + 1000 * time + 2000 * int(stack) for stack, time, k in frames])
    write_enhanced(
        tmp_path / "4d",
        array,
        [(0, 0, 3.0 * k) for _, _, k in frames],
        content=lambda n: {
            "StackID": frames[n][0],
            "InStackPositionNumber": frames[n][2] + 1,
            "TemporalPositionIndex": frames[n][1],
        },
    )
    listing = find_series(tmp_path)
    assert [one.volume_name for one in listing.series] == [
        "stack 1, time 1", "stack 1, time 2", "stack 2, time 1", "stack 2, time 2",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_volume(listing.series[2]).image.array[0], ramp(3) + 5000)


def test_b_values_of_a_multi_frame_file(tmp_path):
    array = np.concatenate([ramp(3), ramp(3) + 500])
    write_enhanced(
        tmp_path / "dwi",
        array,
        [(0, 0, 3.0 * (k % 3)) for k in range(6)],
        each=lambda k: {"MRDiffusionSequence": item(DiffusionBValue=800.0 * (k // 3))},
    )
    assert splits(tmp_path) == ["b=0", "b=800"]


# --- rules ---


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


# --- one path for a series ---


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
