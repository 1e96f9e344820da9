"""The picture of an answer as a Secondary Capture: a valid object of the study, with the pixels that were drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import pydicom
from dicom.answers import errors_of_dciodvfy, labels, meaning, written_series
from PIL import Image as pillow

from medseg.core.colours import rgb_number
from medseg.core.labels import Labels
from medseg.delivery.dicom.sheet import draw_sheet
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.io.dicom.listing.find import find_series


def test_a_sheet_shows_outlines_and_lies_in_the_study(tmp_path):
    volume = written_series(tmp_path / "series")
    structures = Labels(structures={name: values[0] for name, values in meaning().members.items()})
    picture = draw_sheet(volume.image, volume.image.with_array(labels()[None]), structures)
    paths = object_paths(tmp_path, "case", ["sheet"])
    write_objects(labels(), volume.series, meaning(), paths, picture=picture)
    assert paths["sheet"].name == "case.sc.dcm"
    assert errors_of_dciodvfy(paths["sheet"]) == []
    sheet, first = pydicom.dcmread(paths["sheet"]), pydicom.dcmread(next((tmp_path / "series").glob("*")))
    assert sheet.SOPClassUID.name == "Secondary Capture Image Storage"
    for key in ("StudyInstanceUID", "PatientID", "PatientName"):
        assert sheet[key].value == first[key].value
    assert sheet.SeriesInstanceUID != first.SeriesInstanceUID
    assert sheet.BurnedInAnnotation == "NO"
    assert "RESEARCH USE ONLY" in sheet.SeriesDescription
    drawn = np.asarray(pillow.open(io.BytesIO(picture)).convert("RGB"))
    assert np.array_equal(sheet.pixel_array, drawn)
    assert (drawn == rgb_number(0)).all(axis=-1).any()


def test_a_sheet_is_not_taken_for_a_scan(tmp_path):
    volume = written_series(tmp_path / "series")
    structures = Labels(structures={name: values[0] for name, values in meaning().members.items()})
    picture = draw_sheet(volume.image, volume.image.with_array(labels()[None]), structures)
    write_objects(
        labels(), volume.series, meaning(), object_paths(tmp_path / "series", "c", ["sheet"]), picture=picture
    )
    listed = [series for series in find_series(tmp_path / "series").series if not series.problems]
    assert [series.uid for series in listed] == [volume.series.uid]
