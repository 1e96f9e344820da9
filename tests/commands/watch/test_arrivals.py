"""Which entries of a watched folder are studies, and which changes of them count."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.commands.watch.arrivals import Arrival, arrivals_in, content_hash_of, take_snapshot, why_incomplete
from medseg.io.layouts.studies import SeriesRules


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (1, {"a_0000.nii.gz": "a", "a_0001.nii.gz": "a_0001", "b.nii.gz": "b", "c.nrrd": "c", "s.zip": "s", "x": "x"}),
        (2, {"a_0000.nii.gz": "a", "b.nii.gz": "b", "c.nrrd": "c", "s.zip": "s", "x": "x"}),
    ],
)
def test_folders_zips_and_scans_are_studies(tmp_path: Path, channels: int, expected: dict[str, str]) -> None:
    files(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b.nii.gz", "c.nrrd", "s.zip", "x/1", "readme.txt", "IM1.dcm")
    files(tmp_path, ".DS_Store", ".hidden/1", "d.nii.gz.part", "e.nii.gz~", "f.filepart/1", ".b.nii.gz.Xy12aB")
    found, others = arrivals_in(tmp_path, channels)
    assert {one.name: one.stem for one in found} == expected
    assert others == ["IM1.dcm", "readme.txt"]
    assert len(found[0].files) == channels


@pytest.mark.parametrize(("channels", "others"), [(1, {"a_0001.png": "a_0001"}), (2, {})])
def test_a_scan_without_a_number_is_a_study_beside_numbered_ones(
    tmp_path: Path, channels: int, others: dict[str, str]
) -> None:
    files(tmp_path, "a.png", "a_0000.png", "a_0001.png")
    found, _ = arrivals_in(tmp_path, channels)
    assert {one.name: one.stem for one in found} == {"a.png": "a", "a_0000.png": "a"} | others
    assert sum(len(one.files) for one in found) == 3


def test_a_channel_that_is_late_is_waited_for(tmp_path: Path) -> None:
    def why(channels: int, late: bool) -> str | None:
        [arrival] = arrivals_in(tmp_path, channels)[0]
        names = [f"channel_{number}" for number in range(channels)]
        return why_incomplete(arrival, take_snapshot(arrival), names, None, SeriesRules(), late)

    files(tmp_path, "a_0000.nii.gz")
    assert why(2, late=False) == "a_0000.nii.gz is there without a_0001; the model takes 2 channels."
    assert why(2, late=True) is None  # one file may hold both; what it lacks is said when it is read
    assert why(1, late=False) is None
    files(tmp_path, "a_0001.nii.gz")
    assert why(2, late=False) is None


@pytest.mark.parametrize("zipped", [False, True])
def test_a_numbered_scan_that_holds_all_channels_is_not_waited_for(tmp_path: Path, zipped: bool) -> None:
    if zipped:  # a study of DICOM; this one does not open, which is another reason to wait
        files(tmp_path, "pat_0001.zip")
    else:
        nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4)), tmp_path / "pat_0001.nii.gz")
    [arrival] = arrivals_in(tmp_path, 2)[0]
    why = why_incomplete(arrival, take_snapshot(arrival), ["t1", "flair"], None, SeriesRules(), late=False)
    assert why == (f"{arrival.path} is not a complete zip: it does not open." if zipped else None)


def test_a_number_in_the_name_of_a_scan_of_one_channel_is_no_channel(tmp_path: Path) -> None:
    files(tmp_path, "pat_0001.png")
    [arrival] = arrivals_in(tmp_path, 1)[0]
    assert why_incomplete(arrival, take_snapshot(arrival), ["CT"], None, SeriesRules(), late=False) is None


def test_a_list_in_a_study_names_no_file_of_others(tmp_path: Path) -> None:
    files(tmp_path, "other/b.png", "in/study/a.png")
    [arrival] = arrivals_in(tmp_path / "in", 1)[0]

    def why(file: Path | str) -> str | None:
        (tmp_path / "in/study/cases.csv").write_text(f"id,image\nx,{file}\n")
        return why_incomplete(arrival, take_snapshot(arrival), ["CT"], None, SeriesRules(), late=False)

    assert why("a.png") is None
    for outside in (tmp_path / "other/b.png", "../../other/b.png"):
        assert "which is no file of the study" in str(why(outside))


def test_the_data_of_a_header_are_not_named_as_no_study(tmp_path: Path) -> None:
    files(tmp_path, "b.mhd", "b.raw", "c.raw")
    nib.save(nib.Nifti1Pair(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a.hdr")
    (tmp_path / "b.mhd").write_text("NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = b.raw\n")
    (tmp_path / "d.nii.gz").symlink_to("nowhere")
    found, others = arrivals_in(tmp_path, 1)
    assert [one.name for one in found] == ["a.hdr", "b.mhd", "d.nii.gz"]
    assert others == ["c.raw"]


def test_a_snapshot_changes_with_every_file(tmp_path: Path) -> None:
    arrival = Arrival("x", "x", files(tmp_path / "x", "1", "deep/2"))
    looks = [take_snapshot(arrival)]
    assert take_snapshot(arrival) == looks[0]
    (tmp_path / "x" / "1").write_text("longer")
    looks.append(take_snapshot(arrival))
    files(tmp_path / "x", "deep/.3.abcdef")
    looks.append(take_snapshot(arrival))
    os.utime(tmp_path / "x" / "deep" / "2", ns=(0, 0))
    looks.append(take_snapshot(arrival))
    (tmp_path / "x" / "1").rename(tmp_path / "x" / "one")
    looks.append(take_snapshot(arrival))
    assert len({look.signature for look in looks}) == len(looks)
    assert looks[-1].unfinished == (".3.abcdef",)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    arrival = Arrival("x", "x", files(tmp_path / "x", "1"))
    before = content_hash_of(take_snapshot(arrival))
    os.mkfifo(tmp_path / "x" / "pipe")
    assert content_hash_of(take_snapshot(arrival)) == before


def test_content_is_what_files_hold_whatever_they_are_called(tmp_path: Path) -> None:
    arrival = Arrival("x", "x", files(tmp_path / "x", "1", "2", ".DS_Store"))
    before = content_hash_of(take_snapshot(arrival))
    (tmp_path / "x" / "1").rename(tmp_path / "x" / "one")
    (tmp_path / "x" / ".DS_Store").unlink()
    os.utime(tmp_path / "x" / "2", ns=(0, 0))
    assert content_hash_of(take_snapshot(arrival)) == before
    (tmp_path / "x" / "one").write_text("3")
    assert content_hash_of(take_snapshot(arrival)) != before


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    folder = files(tmp_path / "x", "1")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert [path.name for path in take_snapshot(Arrival("x", "x", folder)).files] == ["1"]


def test_a_study_that_cannot_be_read_has_a_problem(tmp_path: Path) -> None:
    look = take_snapshot(Arrival("gone", "gone", tmp_path / "gone"))
    assert "gone" in str(look.problem)
    assert look == take_snapshot(Arrival("gone", "gone", tmp_path / "gone"))
