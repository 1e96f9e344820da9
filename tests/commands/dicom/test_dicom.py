"""`medseg dicom`: label files that are there already, as objects of their series."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import highdicom as hd
import pydicom
from dicom.answers import SHAPE, errors_of_dciodvfy, labels, written_series
from dicom.builders import write_series

from medseg.commands.dicom.dicom import dicom
from medseg.commands.dicom.options import DicomOutOptions
from medseg.core.errors import DataError, PlanError
from medseg.core.files import content_hash
from medseg.core.image import Image
from medseg.delivery.answers.labels_file import NAME
from medseg.delivery.answers.options import WriteOptions
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.images import read_label, write_label
from medseg.plans.sections.reading import Reading

STRUCTURES = ("kidney_left=1", "liver=2")


def pixels_of(path, volume):
    uids = [slice_.sop_instance_uid for slice_ in volume.series.slices]
    seg = hd.seg.segread(path)
    return seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, combine_segments=True)


@pytest.fixture
def volume(tmp_path):
    return written_series(tmp_path / "study", "oblique")


@pytest.fixture
def file(tmp_path, volume):
    path = tmp_path / "labels" / "case.nii.gz"
    write_label(path, volume.image.with_array(labels()[None]))
    return path


def test_labels_of_a_person(tmp_path, volume, file):
    result = dicom(file, tmp_path / "study", tmp_path / "out", DicomOutOptions(structures=STRUCTURES, manual=True))
    assert result.files == {"seg": tmp_path / "out" / "case.seg.dcm"}
    np.testing.assert_array_equal(pixels_of(result.files["seg"], volume), labels())
    assert errors_of_dciodvfy(result.files["seg"]) == []
    (kidney, _) = pydicom.dcmread(result.files["seg"]).SegmentSequence
    assert kidney.SegmentAlgorithmType == "MANUAL"
    assert "SegmentationAlgorithmIdentificationSequence" not in kidney
    voxel = 3.0 * 2.0 * 1.5 / 1000
    assert result.volumes == pytest.approx(
        {name: (labels() == n).sum() * voxel for n, name in ((1, "kidney_left"), (2, "liver"))}
    )


def test_a_report_of_a_replaced_segmentation_is_moved_aside(tmp_path, volume, file):
    """It names the replaced object, and its volumes; contours refer to no other object, and stay."""
    out = tmp_path / "out"

    def written(forms):
        write = WriteOptions(forms=forms)
        return dicom(
            file, tmp_path / "study", out, DicomOutOptions(structures=STRUCTURES, manual=True, write=write)
        ).notes

    assert written(("seg", "rtstruct", "report")) == written(("report",)) == written(("rtstruct",)) == ()
    (note,) = written(("seg",))
    assert "case.sr.dcm describes an earlier case.seg.dcm" in note
    (earlier,) = out.glob("earlier-*")
    assert {path.name for path in earlier.iterdir()} == {"case.sr.dcm"}
    assert {path.name for path in out.glob("*.dcm")} == {"case.seg.dcm", "case.rtstruct.dcm"}
    assert written(("seg",)) == ()


def test_axes_may_be_turned(tmp_path, volume, file):
    """As other programs store the same voxels: z, y and x reversed, or x first."""
    image = volume.image
    array, affine = labels()[::-1, ::-1], image.affine.copy()
    affine[:3, 3] += image.affine[:3, 2] * (SHAPE[0] - 1) + image.affine[:3, 1] * (SHAPE[1] - 1)
    affine[:3, 1:3] *= -1
    turned = tmp_path / "turned.nii.gz"
    write_label(turned, Image(np.ascontiguousarray(array.transpose(2, 1, 0))[None], affine[:, [2, 1, 0, 3]]))
    result = dicom(turned, tmp_path / "study", tmp_path / "out", DicomOutOptions(structures=STRUCTURES, manual=True))
    np.testing.assert_array_equal(pixels_of(result.files["seg"], volume), labels())


def test_labels_elsewhere_are_refused(tmp_path, volume):
    affine = volume.image.affine.copy()
    affine[:3, 3] += 1.0
    write_label(tmp_path / "case.nii.gz", Image(labels()[None], affine))
    with pytest.raises(DataError, match="lies on another grid than the series"):
        dicom(
            tmp_path / "case.nii.gz",
            tmp_path / "study",
            tmp_path / "out",
            DicomOutOptions(structures=STRUCTURES, manual=True),
        )


def test_who_made_them_and_what_they_mean_must_be_known(tmp_path, volume, file):
    with pytest.raises(PlanError, match="not known what the values"):
        dicom(file, tmp_path / "study", tmp_path / "out")
    with pytest.raises(PlanError, match="not known who made"):
        dicom(file, tmp_path / "study", tmp_path / "out", DicomOutOptions(structures=STRUCTURES))
    options = DicomOutOptions(structures=STRUCTURES, algorithm="other program 2.1")
    result = dicom(file, tmp_path / "study", tmp_path / "out", options)
    algorithm = pydicom.dcmread(result.files["seg"]).SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("other program", "2.1")


def test_answers_of_predict_say_it_themselves_as_long_as_nobody_changed_them(tmp_path, volume, file):
    labelled = {"labels": {"structures": {"one": 1, "two": 2}}, "codes": {}}
    codes = {"category": "SCT 85756007 Tissue", "type": "99LAB 1 Something"}
    labelled["codes"] = {"one": codes, "two": codes}
    (file.parent / NAME).write_text(json.dumps(labelled))
    lines = [{"medseg": "9.9", "model": "abc"}, {"case": "case", "scan": [], "files": {file.name: content_hash(file)}}]
    (file.parent / LEDGER_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = dicom(file, tmp_path / "study", tmp_path / "out")
    segment = pydicom.dcmread(result.files["seg"]).SegmentSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "1"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmVersion, algorithm.AlgorithmParameters) == ("9.9", "model=abc")
    write_label(file, volume.image.with_array(np.ones((1, *SHAPE), np.uint8)))
    with pytest.raises(PlanError, match="not known who made"):
        dicom(file, tmp_path / "study", tmp_path / "out")


def test_values_that_nothing_declares(tmp_path, volume, file):
    with pytest.raises(DataError, match="label value 2") as caught:
        dicom(file, tmp_path / "study", tmp_path / "out", DicomOutOptions(structures=("liver=1",), manual=True))
    assert "--map" not in caught.value.hint


def test_a_stack_that_leans_gets_its_labels_on_its_own_slices(tmp_path):
    """Each slice lies 1.5 mm, one pixel, further along x; the grid that it is read on stands upright."""
    write_series(tmp_path / "study", np.zeros(SHAPE, np.int16), move=lambda number: (1.5 * number, 0.0, 3.0 * number))
    series = find_series(tmp_path / "study").series[0]
    volume = read_volume(series, DicomOptions(resample_tilt=True))
    x = np.indices(volume.image.shape_zyx)[2]
    upright = ((x >= 6) & (x < 9)).astype(np.uint8)
    write_label(tmp_path / "case.nii.gz", volume.image.with_array(upright[None]))
    options = DicomOutOptions(structures=("liver=1",), manual=True, resample_tilt=True)
    result = dicom(tmp_path / "case.nii.gz", tmp_path / "study", tmp_path / "out", options)
    expected = np.zeros(SHAPE, bool)
    for number in range(SHAPE[0]):
        expected[number, :, max(0, 6 - number) : 9 - number] = True
    np.testing.assert_array_equal(pixels_of(result.files["seg"], volume) > 0, expected)
    with pytest.raises(DataError, match="--resample-tilt"):
        dicom(
            tmp_path / "case.nii.gz",
            tmp_path / "study",
            tmp_path / "out",
            DicomOutOptions(structures=("liver=1",), manual=True),
        )


@pytest.mark.real
@pytest.mark.parametrize(("patient", "volume_ml"), [("pat_2", 6.460), ("pat_3", 11.589)])
def test_contours_of_a_real_tumour_as_seg_and_back(data_dir, tmp_path, patient, volume_ml):
    study = data_dir / "lung_ct_dicom" / patient
    (contours,) = [path for path in study.iterdir() if path.name.startswith("DCM_RS")]
    write = WriteOptions(("seg", "rtstruct", "report"), codes="GTV-1=gtv")
    result = dicom(contours, study, tmp_path, DicomOutOptions(structures=("GTV-1=1",), manual=True, write=write))
    assert result.volumes["GTV-1"] == pytest.approx(volume_ml, abs=0.001)
    volume = read_volume(find_series(study).series[0])
    drawn = read_label(contours, Reading(segments={"GTV-1": 1}), volume.image).array[0]
    np.testing.assert_array_equal(pixels_of(result.files["seg"], volume), drawn)
    for path in result.files.values():
        assert errors_of_dciodvfy(path) == []
    again = read_label(result.files["rtstruct"], Reading(segments={"GTV-1": 1}), volume.image).array[0]
    np.testing.assert_array_equal(again, drawn)


def test_objects_of_another_frame_of_reference_are_refused(tmp_path, volume, file):
    written = dicom(file, tmp_path / "study", tmp_path / "out", DicomOutOptions(structures=STRUCTURES, manual=True))
    written_series(tmp_path / "other", "oblique", series="other", FrameOfReferenceUID="1.2.3")
    options = DicomOutOptions(structures=STRUCTURES, manual=True)
    with pytest.raises(DataError, match="another frame of reference"):
        dicom(written.files["seg"], tmp_path / "other", tmp_path / "again", options)
    assert not (tmp_path / "again").exists()
