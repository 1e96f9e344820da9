"""Series that are incomplete or mixed up, however well their slices lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom.builders import ramp, uid, write_series

from medseg.core.errors import DataError
from medseg.io.dicom.listing.find import find_series
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
