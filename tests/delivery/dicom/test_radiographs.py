"""Radiographs have no position: a SEG of one refers to its pixels (PS3.3 A.51.5), contours and volumes are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import highdicom as hd
import pydicom
from dicom.answers import errors_of_dciodvfy, labels, meaning
from dicom.builders import write_series

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.delivery.dicom.source import check_source
from medseg.delivery.dicom.write import object_paths, write_objects
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.elements.series import Series
from medseg.io.dicom.labels.frames_of_reference import check_common_frame_of_reference, check_frame_of_reference
from medseg.io.dicom.labels.label_objects import read_label_object
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume, series_grid
from medseg.plans.sections.reading import Reading

DIGITAL, MAMMOGRAM, COMPUTED = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("1.1", "1.2", "1"))
NO_PLACE = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"))
RADIOGRAPHS: dict[str, dict[str, Any]] = {
    "mammogram": {"Modality": "MG", "SOPClassUID": MAMMOGRAM, "FrameOfReferenceUID": None},
    "only the detector's spacing": {
        "Modality": "DX",
        "SOPClassUID": DIGITAL,
        "FrameOfReferenceUID": None,
        "PixelSpacing": None,
        "ImagerPixelSpacing": [0.2, 0.3],
    },
    "of unknown size": {"Modality": "CR", "SOPClassUID": COMPUTED, "FrameOfReferenceUID": None, "PixelSpacing": None},
    "a frame of reference": {"Modality": "DX", "SOPClassUID": DIGITAL},
    "thick": {"Modality": "DX", "SOPClassUID": DIGITAL, "FrameOfReferenceUID": None, "SliceThickness": 3},
}
PLANE = labels()[1:2]
READING = Reading(segments={"kidney_left": 1, "liver": 2, "spleen": 3})


def radiograph(folder: Path, series: str = "a series", **changes: Any) -> Series:
    """A radiograph of the size of `PLANE`, listed."""
    write_series(folder, np.arange(PLANE.size, dtype=np.uint16).reshape(PLANE.shape), series=series, **changes)
    (found,) = find_series(folder).series
    assert not found.problems
    return found


def written(series: Series, folder: Path, labelmap: bool = False) -> Path:
    paths = object_paths(folder, "case", ["seg"])
    write_objects(PLANE, series, meaning(labelmap=labelmap), paths)
    return paths["seg"]


@pytest.mark.parametrize("labelmap", [False, True])
@pytest.mark.parametrize("changes", RADIOGRAPHS.values(), ids=RADIOGRAPHS)
def test_a_segmentation_comes_back(tmp_path: Path, changes: dict[str, Any], labelmap: bool) -> None:
    series = radiograph(tmp_path / "study", **{**NO_PLACE, **changes})
    path = written(series, tmp_path / "out", labelmap)
    dataset = pydicom.dcmread(path)
    assert "FrameOfReferenceUID" not in dataset
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    assert "PlanePositionSequence" not in frame
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == series.slices[0].sop_instance_uid
    if not labelmap:
        assert errors_of_dciodvfy(path) == []
    grid = series_grid(series, DicomOptions())
    check_frame_of_reference(path, series)
    answer = read_label_object(path, READING, grid)
    assert answer.same_grid(grid)
    assert np.array_equal(answer.array[0], PLANE)
    by_itself = read_label_object(path, READING, None)
    assert np.array_equal(by_itself.array[0], PLANE)
    assert by_itself.spacing_known == ("SliceThickness" in changes)


def test_highdicom_reads_the_same(tmp_path: Path) -> None:
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    seg = hd.seg.segread(written(series, tmp_path / "out"))
    found = seg.get_pixels_by_source_instance(
        [series.slices[0].sop_instance_uid], combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(found, PLANE)


def test_an_answer_without_a_voxel(tmp_path: Path) -> None:
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    paths = object_paths(tmp_path, "case", ["seg"])
    write_objects(np.zeros_like(PLANE), series, meaning(), paths)
    assert not read_label_object(paths["seg"], READING, series_grid(series, DicomOptions())).array.any()


@pytest.mark.parametrize(("form", "reason"), [("rtstruct", "contours have coordinates"), ("report", "no depth")])
def test_what_needs_positions_is_refused(tmp_path: Path, form: str, reason: str) -> None:
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["a frame of reference"])
    with pytest.raises(DataError, match=reason) as caught:
        check_source(series.slices, series.title, [form])
    assert "--write nifti,seg" in caught.value.hint
    with pytest.raises(DataError, match=reason):
        write_objects(PLANE, series, meaning(), object_paths(tmp_path, "case", ["seg", form]), {"liver": 1.0})
    assert not (tmp_path / "case.seg.dcm").exists()


def test_a_ct_without_a_frame_of_reference_stays_refused(tmp_path: Path) -> None:
    write_series(tmp_path, FrameOfReferenceUID=None)
    (series,) = find_series(tmp_path).series
    with pytest.raises(DataError, match="lacks FrameOfReferenceUID"):
        check_source(series.slices, series.title, ["seg"])


def test_a_segmentation_of_another_radiograph_is_refused(tmp_path: Path) -> None:
    first = radiograph(tmp_path / "a", "a", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    other = radiograph(tmp_path / "b", "b", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    path, of_other = written(first, tmp_path / "out"), written(other, tmp_path / "out b")
    with pytest.raises(DataError, match="names another image"):
        check_frame_of_reference(path, other)
    with pytest.raises(DataError, match="two different images"):
        check_common_frame_of_reference(path, of_other)
    check_common_frame_of_reference(path, path)


def test_labels_with_positions_do_not_lie_on_a_radiograph(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", np.zeros((1, *PLANE.shape[1:]), np.int16), series="ct")
    (ct,) = find_series(tmp_path / "ct").series
    paths = object_paths(tmp_path, "case", ["seg", "rtstruct"])
    write_objects(PLANE, ct, meaning(), paths)
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    for path in paths.values():
        with pytest.raises(DataError, match="that image has none"):
            check_frame_of_reference(path, series)


@pytest.mark.parametrize("shape", [(2, 10, 14), (1, 10, 15)])
def test_a_segmentation_without_positions_needs_an_image_of_its_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    with pytest.raises(DataError, match="expected a scan of one image of 10 x 14 pixels"):
        read_label_object(written(series, tmp_path / "out"), READING, Image(np.zeros((1, *shape)), np.eye(4)))


def test_frames_of_several_images_without_positions_are_refused(tmp_path: Path) -> None:
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    write_objects(labels()[3:4], series, meaning(), paths := object_paths(tmp_path, "case", ["seg"]))
    path = paths["seg"]
    dataset = pydicom.dcmread(path)
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[1].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    dataset.save_as(path)
    with pytest.raises(DataError, match="are of several images"):
        read_label_object(path, READING, series_grid(series, DicomOptions()))


def test_the_values_of_a_radiograph_are_read_beside_it(tmp_path: Path) -> None:
    series = radiograph(tmp_path / "study", **NO_PLACE, **RADIOGRAPHS["mammogram"])
    assert read_volume(series).image.shape_zyx == PLANE.shape
