"""Series that no object can refer to are refused with what is missing; nothing is made up."""

from __future__ import annotations

import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import pydicom
from dicom_answers import labels, meaning, written_series

from medseg.delivery.dicom.source import check_source, read_source
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.errors import DataError

EMPTY = ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "AccessionNumber")


@pytest.mark.parametrize("key", ["FrameOfReferenceUID", "PatientID"])
def test_what_identifies_the_source_must_be_there(tmp_path, key):
    volume = written_series(tmp_path / "series", **{key: None})
    with pytest.raises(DataError, match=f"lacks {key}.*nothing is made up") as caught:
        check_source(volume.series.slices, volume.series.title)
    assert "SECRET" not in str(caught.value)


def test_elements_that_may_be_empty_are_written_empty(tmp_path):
    volume = written_series(tmp_path / "series", **dict.fromkeys(EMPTY), PatientID="")
    paths = object_paths(tmp_path, "case", ["seg", "rtstruct", "report"])
    write_objects(labels(), volume.series, meaning(), paths, {"liver": 1.0})
    for path in paths:
        found = pydicom.dcmread(path)
        assert [key for key in (*EMPTY, "PatientID") if found[key].value] == []


def test_slices_that_agree_within_the_readers_tolerance_get_one_orientation(tmp_path):
    tilted = [1, 1e-6, 0, -1e-6, 1, 0]
    volume = written_series(
        tmp_path / "series", each=lambda number: {"ImageOrientationPatient": tilted} if number == 3 else {}
    )
    found = read_source(volume.series.slices, volume.series.title)
    assert len({tuple(image.ImageOrientationPatient) for image in found.images}) == 1


@pytest.mark.real
@pytest.mark.parametrize("folder", ["failing/gantrytilting", "siemens_multiframe/anatomical"])
def test_real_series_without_a_frame_of_reference(data_dir, folder):
    from medseg.io.dicom import find_series

    series = find_series(data_dir / "dicom_odd" / folder).series[0]
    with pytest.raises(DataError, match="lacks FrameOfReferenceUID"):
        check_source(series.slices, series.title)
