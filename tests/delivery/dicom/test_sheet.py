"""The picture of an answer as a Secondary Capture: a valid object of the study, with the pixels that were drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import pydicom
from dicom.answers import PLANES, errors_of_dciodvfy, labels, meaning, written_series
from dicom.builders import write_series
from PIL import Image as pillow

from medseg.core.colours import rgb_number
from medseg.core.labels import Labels
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.delivery.pictures.overlay import draw_overlay
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume

DIGITAL = "1.2.840.10008.5.1.4.1.1.1.1"
"""SOP class of digital radiographs."""


def test_a_sheet_shows_outlines_and_lies_in_the_study(tmp_path):
    volume = written_series(tmp_path / "series")
    structures = Labels(structures={name: values[0] for name, values in meaning().members.items()})
    picture = draw_overlay(volume.image, volume.image.with_array(labels()[None]), structures)
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
    drawn = np.asarray(pillow.open(io.BytesIO(picture.png)).convert("RGB"))
    assert np.array_equal(sheet.pixel_array, drawn)
    assert (drawn == rgb_number(0)).all(axis=-1).any()


def test_a_sheet_is_not_taken_for_a_scan(tmp_path):
    volume = written_series(tmp_path / "series")
    structures = Labels(structures={name: values[0] for name, values in meaning().members.items()})
    picture = draw_overlay(volume.image, volume.image.with_array(labels()[None]), structures)
    write_objects(
        labels(), volume.series, meaning(), object_paths(tmp_path / "series", "c", ["sheet"]), picture=picture
    )
    listed = [series for series in find_series(tmp_path / "series").series if not series.problems]
    assert [series.uid for series in listed] == [volume.series.uid]


@pytest.mark.parametrize(
    ("plane", "slices", "expected"),
    [
        ("axial", 1, ["L", "P"]),
        ("coronal", 1, ["L", "F"]),
        ("sagittal", 1, ["P", "F"]),
        ("coronal", 4, ["L", "P"]),  # of a volume axial slices are drawn, however it was taken
    ],
)
def test_a_sheet_says_how_the_patient_lies_in_it(tmp_path, plane, slices, expected):
    """The patient's right, or front, is on the left of the picture, and the front, or the head, on top."""
    array = np.zeros((slices, 12, 10), np.int16)
    write_series(tmp_path / "series", array, orientation=PLANES[plane])
    assert sheet_of(tmp_path, values_like(array)).PatientOrientation == expected


def test_the_corner_that_is_drawn_first_is_where_a_sheet_says(tmp_path):
    """A bright pixel on the patient's right and head is on the upper left of a coronal picture, stored either way."""
    for name, orientation, corner in (
        ("usual", (1, 0, 0, 0, 0, -1), (0, 0)),
        ("turned", (-1, 0, 0, 0, 0, 1), (-1, -1)),
    ):
        array = np.zeros((1, 16, 16), np.int16)
        array[0][corner] = 1000
        write_series(tmp_path / name / "series", array, orientation=orientation)
        sheet = sheet_of(tmp_path / name, np.zeros(array.shape, np.uint8))
        assert sheet.PatientOrientation == ["L", "F"]
        grey = sheet.pixel_array.astype(int)[6:326, 6:326].sum(axis=-1)
        assert max(np.unravel_index(grey.argmax(), grey.shape)) < 40


def test_the_sheet_of_a_radiograph_says_no_sides(tmp_path):
    array = np.zeros((1, 12, 10), np.uint16)
    place = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "FrameOfReferenceUID"))
    write_series(tmp_path / "series", array, Modality="DX", SOPClassUID=DIGITAL, **place)
    assert not sheet_of(tmp_path, values_like(array)).PatientOrientation


def values_like(array):
    """A label map with a square of the first structure in each slice."""
    values = np.zeros(array.shape, np.uint8)
    values[:, 3:8, 3:8] = 1
    return values


def sheet_of(folder, values):
    """The sheet of the series in a folder."""
    volume = read_volume(find_series(folder / "series").series[0])
    picture = draw_overlay(volume.image, volume.image.with_array(values[None]), Labels(structures={"liver": 1}))
    paths = object_paths(folder, "case", ["sheet"])
    write_objects(values, volume.series, meaning({"liver": (1,)}), paths, picture=picture)
    assert errors_of_dciodvfy(paths["sheet"]) == []
    return pydicom.dcmread(paths["sheet"])
