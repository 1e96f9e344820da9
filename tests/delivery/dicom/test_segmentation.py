"""SEG objects, read back by programs that know nothing of medseg: the same voxels at the same places."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import highdicom as hd
import pydicom
from dicom.answers import (
    MEMBERS,
    OVERLAPPING,
    PLANES,
    SHAPE,
    UNKNOWN_TO_DCIODVFY,
    errors_of_dciodvfy,
    labels,
    meaning,
    on_grid,
    read_by_dcmqi,
    written_series,
)
from dicom.builders import ramp, write_enhanced, write_series

from medseg.core.errors import DataError
from medseg.delivery.dicom.codes import codes_of
from medseg.delivery.dicom.common import character_set
from medseg.delivery.dicom.write import Meaning, object_paths, write_objects
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.geometry.resampling import labels_on_slices
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.images import read_label
from medseg.plans.sections.reading import Reading

KINDS = {"BINARY": False, "LABELMAP": True}


def write(folder, volume, array, what=None, kinds=("seg",)):
    paths = object_paths(folder, "case", kinds)
    write_objects(array, volume.series, what or meaning(), paths, dict.fromkeys(MEMBERS, 1.0))
    return next(iter(paths.values()))


def masks(array, members):
    return np.stack([np.isin(array, values) for values in members.values()], axis=-1)


@pytest.fixture(scope="module", params=[(plane, kind) for plane in PLANES for kind in KINDS], ids="-".join)
def answer(request, tmp_path_factory):
    """A SEG of a series in each plane and kind: (volume, members, file)."""
    plane, kind = request.param
    folder = tmp_path_factory.mktemp("seg")
    volume = written_series(folder / "series", plane)
    members = OVERLAPPING if kind == "BINARY" else MEMBERS
    return volume, members, write(folder, volume, labels(), meaning(members, KINDS[kind]))


def test_highdicom_reads_the_same_voxels_by_source_instance(answer):
    volume, members, path = answer
    seg = hd.seg.segread(path)
    uids = [slice_.sop_instance_uid for slice_ in volume.source_slices]
    found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(found.astype(bool), masks(labels(), members))


def test_dcmqi_reads_the_same_voxels(answer, tmp_path):
    volume, members, path = answer
    found = np.zeros((*SHAPE, len(members)), bool)
    for file in read_by_dcmqi(path, tmp_path):
        image = read_label(file)
        for number in range(1, len(members) + 1):
            found[..., number - 1] |= on_grid(image, volume.image) == number
    np.testing.assert_array_equal(found, masks(labels(), members))


def test_dciodvfy_finds_no_error(answer):
    _, members, path = answer
    found = errors_of_dciodvfy(path)
    if members is MEMBERS:  # LABELMAP
        found = [line for line in found if not any(known in line for known in UNKNOWN_TO_DCIODVFY)]
    assert found == []


def test_pydicom_sees_frames_at_the_positions_of_their_sources(answer):
    volume, members, path = answer
    seg = pydicom.dcmread(path)
    pixels = seg.pixel_array.reshape(-1, *SHAPE[1:])
    places = {slice_.sop_instance_uid: (number, slice_.position) for number, slice_ in enumerate(volume.source_slices)}
    found = np.zeros((*SHAPE, len(members)), bool)
    for frame, group in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number, position = places[source.ReferencedSOPInstanceUID]
        assert group.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(position, abs=1e-6)
        if seg.SegmentationType == "BINARY":
            found[number, ..., group.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1] = frame
        else:
            found[number] = frame[..., None] == np.arange(1, len(members) + 1)
    np.testing.assert_array_equal(found, masks(labels(), members))
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == pytest.approx(3.0)
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == pytest.approx(
        volume.source_slices[0].orientation
    )


def test_medseg_reads_the_same_voxels(answer):
    volume, _, path = answer
    reading = Reading(overlaps={"1+2": 2})  # where kidney and liver overlap, which they do in one of the members
    np.testing.assert_array_equal(read_label(path, reading, volume.image).array[0], labels())


def test_segments_say_what_they_are(tmp_path):
    volume = written_series(tmp_path / "series")
    members = {"Kidney-L": (1,), "lung_tumor_right": (2,)}
    seg = pydicom.dcmread(write(tmp_path, volume, labels(), meaning(members)))
    kidney, tumour = seg.SegmentSequence
    assert (kidney.SegmentLabel, kidney.SegmentAlgorithmType) == ("Kidney-L", "AUTOMATIC")
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodeMeaning) == ("7771000", "Left")
    assert tumour.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    region = tumour.AnatomicRegionSequence[0]
    assert (region.CodeMeaning, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Lung", "Right")
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medseg toy", "1.0")
    assert algorithm.AlgorithmParameters == "model=abcdef"
    assert kidney.RecommendedDisplayCIELabValue != tumour.RecommendedDisplayCIELabValue


def test_the_object_belongs_to_the_patient_and_says_what_it_is_for(tmp_path):
    volume = written_series(tmp_path / "series")
    seg = pydicom.dcmread(write(tmp_path, volume, labels()))
    first = pydicom.dcmread(volume.source_slices[0].file.path)
    for key in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[key].value == first[key].value
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    assert seg.SeriesNumber == 401
    assert "RESEARCH" in seg.SeriesDescription
    assert "RESEARCH" in seg.ContentDescription
    assert not seg.ContentCreatorName
    other = pydicom.dcmread(write(tmp_path, volume, labels()))
    assert {seg.SOPInstanceUID, seg.SeriesInstanceUID}.isdisjoint({other.SOPInstanceUID, other.SeriesInstanceUID})


def test_frames_of_a_multi_frame_source_keep_their_numbers(tmp_path):
    """The frames of the file run against their positions, and only every second one is of this volume."""
    array = np.arange(12 * 10 * 14, dtype=np.int16).reshape(12, 10, 14)
    positions = [(0, 0, 3.0 * (5 - number // 2)) for number in range(12)]
    write_enhanced(
        tmp_path / "series" / "a",
        array,
        positions,
        content=lambda number: {"TemporalPositionIndex": 1 + number % 2, "StackID": "1"},
    )
    found = [read_volume(series) for series in find_series(tmp_path / "series").series]
    assert len(found) == 2
    for volume in found:
        path = write(tmp_path, volume, labels())
        assert errors_of_dciodvfy(path) == []
        frames = [slice_.frame + 1 for slice_ in volume.source_slices]
        assert frames in ([11, 9, 7, 5, 3, 1], [12, 10, 8, 6, 4, 2])
        seg = hd.seg.segread(path)
        pixels = seg.get_pixels_by_source_frame(
            volume.source_slices[0].sop_instance_uid, frames, assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(pixels.astype(bool), masks(labels(), MEMBERS))
        np.testing.assert_array_equal(read_label(path, grid=volume.image).array[0], labels())


def test_an_answer_without_a_voxel_is_a_valid_object(tmp_path):
    volume = written_series(tmp_path / "series")
    path = write(tmp_path, volume, np.zeros(SHAPE, np.uint8))
    assert errors_of_dciodvfy(path) == []
    uids = [slice_.sop_instance_uid for slice_ in volume.source_slices]
    assert not hd.seg.segread(path).get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True).any()


def test_names_in_any_script_and_of_any_length(tmp_path):
    volume = written_series(tmp_path / "series", PatientName="M\u00fcller^J\u00f6rg", SpecificCharacterSet="ISO_IR 100")
    members = {"肝臓": (1,), "x" * 100: (2,), "x" * 99: (3,)}
    what = Meaning(members, codes_of(members, {}, {}, generic=True), meaning().maker)
    seg = pydicom.dcmread(write(tmp_path, volume, labels(), what))
    assert str(seg.PatientName) == "M\u00fcller^J\u00f6rg"
    liver, long, longer = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert liver == "肝臓"
    assert max(len(long), len(longer)) <= 64
    assert long != longer


TERMS = (
    "ISO 2022 IR 100",
    "ISO 2022 IR 6",
    "ISO_IR 6",
    "ISO 2022 IR 149",
    "ISO IR 192",
    "UTF-8",
    "LATIN1",
    "ISO_IR 100",
)


@pytest.mark.parametrize("term", TERMS)
def test_odd_terms_for_the_character_set_of_the_source(term):
    source = pydicom.Dataset()
    with pydicom.config.disable_value_validation():
        source.SpecificCharacterSet = term
    assert character_set(source, ["liver"]) == ("ISO_IR 100" if term == "ISO_IR 100" else "ISO_IR 192")


@pytest.mark.parametrize("term", TERMS)
def test_an_object_is_made_whatever_the_character_set_is_called(tmp_path, term):
    paths = write_series(tmp_path / "study", ramp(3), SpecificCharacterSet="ISO_IR 100")
    for path in paths:
        written, wanted = b"CS\n\0ISO_IR 100", term.encode().ljust(len(term) + len(term) % 2)
        assert path.read_bytes().count(written) == 1
        path.write_bytes(path.read_bytes().replace(written, b"CS" + bytes([len(wanted), 0]) + wanted))
    volume = read_volume(find_series(tmp_path / "study").series[0])
    seg = write(tmp_path, volume, np.ones(volume.image.shape_zyx, np.uint8))
    assert str(pydicom.dcmread(seg).PatientName) == "Doe^Jane"


def test_overlapping_structures_are_no_labelmap(tmp_path):
    volume = written_series(tmp_path / "series")
    with pytest.raises(DataError, match="kidney_left and liver overlap"):
        write(tmp_path, volume, labels(), meaning(OVERLAPPING, labelmap=True))


def test_labels_on_another_grid_are_refused(tmp_path):
    volume = written_series(tmp_path / "series")
    with pytest.raises(DataError, match="do not fit"):
        write(tmp_path, volume, labels()[:5])


def test_what_the_header_says_of_the_distance_of_slices_is_not_believed(tmp_path):
    volume = written_series(tmp_path / "series", SpacingBetweenSlices=-99)
    shared = pydicom.dcmread(write(tmp_path, volume, labels())).SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == pytest.approx(3.0)


@pytest.mark.real
@pytest.mark.parametrize("study", ["mr_study1", "mr_study2"])
def test_a_real_series_whose_own_headers_break_rules(data_dir, tmp_path, study):
    """dciodvfy finds eleven errors in each image; none of them comes into the SEG."""
    volume = read_volume(find_series(data_dir / "hippocampus_dicom" / study).series[0])
    image = volume.image.array[0]
    array = np.digitize(image, np.percentile(image, [60, 80, 95])).astype(np.uint8)
    path = write(tmp_path, volume, array)
    assert errors_of_dciodvfy(path) == []
    uids = [slice_.sop_instance_uid for slice_ in volume.source_slices]
    found = hd.seg.segread(path).get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(found, array)
    parts = [on_grid(read_label(file), volume.image) for file in read_by_dcmqi(path, tmp_path / "nifti")]
    np.testing.assert_array_equal(np.max(parts, axis=0), array)


@pytest.mark.real
def test_a_real_stack_that_leans_with_unequal_steps(data_dir, tmp_path):
    """The object lies on the series' own slices, where highdicom finds it; its only error is the source's own."""
    options = DicomOptions(resample_tilt=True, allow_gaps=True)
    volume = read_volume(find_series(data_dir / "dicom_odd" / "gantry_tilt_ge").series[0], options)
    upright = np.zeros(volume.image.shape_zyx, np.uint8)
    upright[5:30, 250:400, 100:300] = 1
    upright[12:20, 300:500, 200:400] = 2
    array = labels_on_slices(upright, volume.series, options)
    assert array.shape == volume.series.shape_zyx
    path = write(tmp_path, volume, array)
    assert [line for line in errors_of_dciodvfy(path) if "DeidentificationMethod" not in line] == []
    seg = hd.seg.segread(path)
    uids = [slice_.sop_instance_uid for slice_ in volume.series.slices]
    found = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(found, array)
    for group in seg.PerFrameFunctionalGroupsSequence:
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = volume.series.slices[uids.index(uid)].position
        assert group.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(position)
