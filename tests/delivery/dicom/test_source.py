"""Series that no object can refer to are refused with what is missing; nothing is made up."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import pydicom
from dicom.answers import errors_of_dciodvfy, labels, meaning, written_series
from dicom.builders import write_series

from medseg.core.errors import DataError
from medseg.delivery.dicom.source import check_source, read_source
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.io.dicom.listing.find import find_series

EMPTY = ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "AccessionNumber")


@pytest.mark.parametrize("key", ["FrameOfReferenceUID", "PatientID"])
def test_what_identifies_the_source_must_be_there(tmp_path, key):
    volume = written_series(tmp_path / "series", **{key: None})
    with pytest.raises(DataError, match=f"lacks {key}.*medseg does not invent values") as caught:
        check_source(volume.series.slices, volume.series.title)
    assert "SECRET" not in str(caught.value)


def test_slices_that_share_an_identifier_are_refused(tmp_path):
    """A reference to it could be followed to the other slice."""
    written_series(tmp_path / "series")
    first, second = sorted(path for path in (tmp_path / "series").rglob("*") if path.is_file())[:2]
    changed = pydicom.dcmread(second)
    changed.SOPInstanceUID = pydicom.dcmread(first).SOPInstanceUID
    changed.save_as(second)
    series = find_series(tmp_path / "series").series[0]
    with pytest.raises(DataError, match="6 slices and only 5 different SOPInstanceUIDs"):
        check_source(series.slices, series.title)


def test_a_source_in_several_character_sets_is_written_in_utf_8(tmp_path):
    """As Japanese scanners write names: escape sequences switch between the sets."""
    name = "Yamada^Tarou=山田^太郎"
    volume = written_series(tmp_path / "series", SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)
    paths = object_paths(tmp_path, "case", ["seg", "rtstruct", "report"])
    write_objects(labels(), volume.series, meaning(), paths, {"liver": 1.0})
    for path in paths.values():
        assert (str(pydicom.dcmread(path).PatientName), errors_of_dciodvfy(path)) == (name, [])


def test_elements_that_may_be_empty_are_written_empty(tmp_path):
    volume = written_series(tmp_path / "series", **dict.fromkeys(EMPTY), PatientID="")
    paths = object_paths(tmp_path, "case", ["seg", "rtstruct", "report"])
    write_objects(labels(), volume.series, meaning(), paths, {"liver": 1.0})
    for path in paths.values():
        dataset = pydicom.dcmread(path)
        assert [key for key in (*EMPTY, "PatientID") if dataset[key].value] == []


def test_values_that_such_elements_may_not_have_are_emptied(tmp_path):
    """As de-identification leaves them; dciodvfy would call each of them an error."""
    odd = {"PatientSex": "female", "PatientBirthDate": "removed", "StudyDate": "2020-1-1", "StudyTime": "noon"}
    with pytest.warns(UserWarning, match="Invalid value"):
        volume = written_series(tmp_path / "series", **odd)
    paths = object_paths(tmp_path, "case", ["seg", "rtstruct", "report"])
    write_objects(labels(), volume.series, meaning(), paths, {"liver": 1.0})
    for path in paths.values():
        assert [key for key in odd if pydicom.dcmread(path)[key].value] == []
        assert errors_of_dciodvfy(path) == []


def test_no_warning_quotes_an_identifier(tmp_path, recwarn):
    volume = written_series(tmp_path / "series", StudyInstanceUID="1.2.03.4")
    recwarn.clear()  # of writing the series
    check_source(volume.series.slices, volume.series.title)
    write_objects(labels(), volume.series, meaning(), object_paths(tmp_path, "case", ["seg", "rtstruct"]))
    assert not [one for one in recwarn if "1.2.03.4" in str(one.message)]


def test_a_single_slice_needs_a_thickness(tmp_path):
    write_series(tmp_path / "thick", labels()[2:3].astype(np.int16))
    write_series(tmp_path / "flat", labels()[2:3].astype(np.int16), SliceThickness=None)
    thick, flat = (find_series(tmp_path / name).series[0] for name in ("thick", "flat"))
    paths = object_paths(tmp_path, "case", ["seg"])
    path = paths["seg"]
    write_objects(labels()[2:3], thick, meaning(), paths)
    assert errors_of_dciodvfy(path) == []
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.get("SpacingBetweenSlices")) == (3, None)
    with pytest.raises(DataError, match="does not say how thick"):
        write_objects(labels()[2:3], flat, meaning(), paths)


def test_a_kind_of_image_that_the_standard_does_not_know(tmp_path):
    volume = written_series(tmp_path / "series", SOPClassUID="1.2.3.4.5")
    with pytest.raises(DataError, match="SOP class"):
        check_source(volume.series.slices, volume.series.title)


def test_slices_that_agree_within_the_readers_tolerance_get_one_orientation(tmp_path):
    tilted = [1, 1e-6, 0, -1e-6, 1, 0]
    volume = written_series(
        tmp_path / "series", each=lambda number: {"ImageOrientationPatient": tilted} if number == 3 else {}
    )
    source = read_source(volume.series.slices, volume.series.title)
    assert len({tuple(image.ImageOrientationPatient) for image in source.images}) == 1


@pytest.mark.real
@pytest.mark.parametrize("folder", ["failing/gantrytilting", "siemens_multiframe/anatomical"])
def test_real_series_without_a_frame_of_reference(data_dir, folder):
    series = find_series(data_dir / "dicom_odd" / folder).series[0]
    with pytest.raises(DataError, match="lacks FrameOfReferenceUID"):
        check_source(series.slices, series.title)
