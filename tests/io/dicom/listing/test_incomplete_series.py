"""Series that are incomplete or mixed up, however well their slices lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dicom.builders import ramp, uid, write_series

from medseg.core.errors import DataError
from medseg.io.dicom.elements.files import File
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import LeftOut
from medseg.io.dicom.listing import find
from medseg.io.dicom.listing.channel import choose_series
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.listing.headers import Header, read_header
from medseg.io.dicom.listing.locate import series_at
from medseg.io.dicom.pixels.volume import read_volume


@pytest.mark.parametrize("bytes_left", [0, 100, 140, 500, 700, 1000])
def test_a_series_whose_last_slice_is_cut_off_is_refused(tmp_path: Path, bytes_left: int) -> None:
    last = write_series(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:bytes_left])
    (series,) = find_series(tmp_path).series
    with pytest.raises(DataError, match=r"IM0004\.dcm is damaged, and may be a slice of it"):
        read_volume(series)


def test_a_damaged_file_concerns_its_own_series_or_its_folder(tmp_path: Path) -> None:
    mine = write_series(tmp_path / "both", series="a", name="A{}.dcm".format)
    write_series(tmp_path / "both", series="b", SeriesNumber=5, name="B{}.dcm".format)
    write_series(tmp_path / "apart", series="c", SeriesNumber=6)
    whole = mine[-1].read_bytes()
    mine[-1].write_bytes(whole[: whole.index(b"thorax") + 300])  # says its series, and no size
    assert [bool(one.problems) for one in find_series(tmp_path).series] == [True, False, False]
    mine[-1].write_bytes(whole[:200])
    assert [bool(one.problems) for one in find_series(tmp_path).series] == [True, True, False]


def test_notes_beside_a_series_are_no_slices(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "notes").write_text("seen by nobody")
    (tmp_path / "empty").write_text("")
    (series,) = find_series(tmp_path).series
    assert not series.problems


@pytest.mark.parametrize(
    ("keyword", "values", "told"),
    [("PatientID", ("one", "other"), "2 patients"), ("Modality", ("CT", "MR"), "CT and MR")],
)
def test_files_of_several_patients_or_modalities_are_refused(tmp_path: Path, keyword, values, told) -> None:
    write_series(tmp_path, each=lambda k: {keyword: values[k > 2]})
    (series,) = find_series(tmp_path).series
    (problem,) = series.problems
    assert told in problem.message
    assert problem.option is None
    assert "other" not in problem.message


def test_studies_that_share_a_series_uid_have_keys_of_their_own(tmp_path: Path) -> None:
    for number, name in enumerate(("p", "q")):
        write_series(tmp_path / name, ramp() + 7 * number, StudyInstanceUID=uid(name), SOPInstanceUID=uid(name))
    found = find_series(tmp_path).series
    assert len({one.key for one in found}) == 2
    again = [read_volume(series_at(one.path)).image.array[0, 0, 0, 0] for one in found]
    assert sorted(again) == [0, 7]


def test_cut_off_pixels_in_a_file_named_by_a_uid(tmp_path: Path) -> None:
    paths = write_series(tmp_path, name=lambda k: f"2.25.32980073569858662929564197851150617{k}.dcm")
    paths[2].write_bytes(paths[2].read_bytes()[:-8])
    (series,) = find_series(tmp_path).series
    with pytest.raises(DataError, match="The pixels of image 3 cannot be read") as told:
        read_volume(series)
    assert "2.25." not in str(told.value).replace(str(tmp_path), "")


def test_messages_call_files_named_by_uids_by_their_instance_number(tmp_path: Path) -> None:
    paths = write_series(tmp_path, name=lambda k: f"CT.1.2.840.113619.2.55.3.{k}.dcm")
    paths[2].unlink()
    (series,) = find_series(tmp_path).series
    (problem,) = series.problems
    assert "between image 2 and image 4" in problem.message
    assert "113619" not in problem.message


def test_many_damaged_files_beside_many_series_are_looked_at_once_each(tmp_path: Path, monkeypatch) -> None:
    (path,) = write_series(tmp_path, ramp(1))
    header = read_header(File(path))
    assert header.series is not None
    count, looked_at = 300, []
    headers = [replace(header, series=replace(header.series, uid=f"1.2.{number}")) for number in range(count)]
    headers += [Header(left_out=LeftOut(f"{number}.dcm", "damaged: cut off")) for number in range(count)]
    monkeypatch.setattr(find, "hide_uids", lambda name: looked_at.append(name) or name)
    listing = find._listing(tmp_path, headers)
    assert len(listing.series) == count
    assert all("and 296 more are damaged" in series.problems[-1].message for series in listing.series)
    assert len(looked_at) <= 4 * count


def write_two_studies(folder: Path) -> None:
    for year in ("2019", "2021"):
        study = {"StudyInstanceUID": uid("study", year), "StudyDate": f"{year}0102"}
        write_series(folder / f"exam {year}", series=f"of {year}", **study)


@pytest.mark.parametrize("channel", ["CT", "image"])
def test_two_studies_in_one_folder_are_told_apart(tmp_path: Path, channel: str) -> None:
    write_two_studies(tmp_path)
    with pytest.raises(DataError, match="2 studies") as caught:
        choose_series(find_series(tmp_path), channel, None, DicomOptions())
    for text in ("2019-01-02", "exam 2019", "2021-01-02", "exam 2021", "a case of its own"):
        assert text in str(caught.value)


@pytest.mark.parametrize(("channel", "modality"), [("MRI", "MR"), ("mr", "MR"), ("PET", "PT"), ("CT", "CT")])
def test_channels_are_named_after_modalities_in_either_spelling(tmp_path: Path, channel: str, modality: str) -> None:
    for number, written in enumerate(("CT", "MR", "PT")):
        write_series(tmp_path / written, series=written, Modality=written, SeriesNumber=number)
    chosen = choose_series(find_series(tmp_path), channel, None, DicomOptions())
    assert chosen.series.modality == modality


def test_a_ct_for_a_channel_called_mri_is_told(tmp_path: Path) -> None:
    write_series(tmp_path)
    chosen = choose_series(find_series(tmp_path), "MRI", None, DicomOptions())
    assert chosen.reason == "the only series, though of modality CT and not MR"


def test_studies_are_told_where_no_series_fits(tmp_path: Path) -> None:
    write_two_studies(tmp_path)
    with pytest.raises(DataError, match=r"2 studies \(of 2019-01-02 in exam 2019, of 2021-01-02 in exam 2021\)"):
        choose_series(find_series(tmp_path), "MR", None, DicomOptions())
