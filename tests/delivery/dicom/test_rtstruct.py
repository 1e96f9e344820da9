"""RTSTRUCT: contours that give the same voxels back, and references that are right."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")

import pydicom
from dicom.answers import MEMBERS, PLANES, SHAPE, errors_of_dciodvfy, labels, meaning, written_series
from dicom.builders import write_enhanced

from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.images import read_label
from medseg.plans.sections.reading import Reading

VALUES = Reading(segments={"kidney_left": 1, "liver": 2})


def write(folder, volume, array, what=None):
    paths = object_paths(folder, "case", ["rtstruct"])
    write_objects(array, volume.series, what or meaning(), paths)
    return paths["rtstruct"]


@pytest.mark.parametrize("plane", PLANES)
def test_reading_it_gives_the_same_voxels(plane, tmp_path):
    volume = written_series(tmp_path / "series", plane)
    path = write(tmp_path, volume, labels())
    np.testing.assert_array_equal(read_label(path, VALUES, volume.image).array[0], labels())
    assert errors_of_dciodvfy(path) == []


def test_ragged_structures_come_back_too(tmp_path):
    volume = written_series(tmp_path / "series", "oblique")
    array = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    np.testing.assert_array_equal(read_label(write(tmp_path, volume, array), VALUES, volume.image).array[0], array)


def test_contours_refer_to_their_images(tmp_path):
    volume = written_series(tmp_path / "series")
    found = pydicom.dcmread(write(tmp_path, volume, labels()))
    assert [roi.ROIName for roi in found.StructureSetROISequence] == list(MEMBERS)
    assert all(roi.ROIGenerationAlgorithm == "AUTOMATIC" for roi in found.StructureSetROISequence)
    places = {slice_.sop_instance_uid: slice_.position for slice_ in volume.source_slices}
    kidney, _, spleen = found.ROIContourSequence
    assert "ContourSequence" not in spleen  # no voxel
    assert len(kidney.ContourSequence) == 3
    for contour in kidney.ContourSequence:
        position = places[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        heights = np.array(contour.ContourData, float).reshape(-1, 3)[:, 2]
        np.testing.assert_allclose(heights, position[2])
    study = found.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    assert {
        reference.ReferencedSOPInstanceUID for reference in study.RTReferencedSeriesSequence[0].ContourImageSequence
    } == {*places}
    assert "RESEARCH" in found.StructureSetDescription


def test_contours_of_a_multi_frame_source_name_the_frame(tmp_path):
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    write_enhanced(tmp_path / "series" / "a", array, [(0, 0, -3.0 * number) for number in range(len(array))])
    volume = read_volume(find_series(tmp_path / "series").series[0])
    path = write(tmp_path, volume, labels())
    np.testing.assert_array_equal(read_label(path, VALUES, volume.image).array[0], labels())
    first = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[0]  # on slice 1, counted from the lowest
    assert first.ContourImageSequence[0].ReferencedFrameNumber == volume.source_slices[1].frame + 1
