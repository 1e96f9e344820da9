"""`medseg dicom`: label files that are there already, as objects of their series."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import highdicom as hd
import pydicom
from dicom.answers import SHAPE, errors_of_dciodvfy, labels, written_series
from dicom.builders import save, write_series
from dicom.label_builders import box, grid, rtstruct

from medseg.commands.dicom.dicom import dicom
from medseg.commands.dicom.options import DicomOutOptions
from medseg.core.errors import DataError, PlanError
from medseg.core.files import content_hash
from medseg.core.image import Image
from medseg.delivery.answers.labels_file import NAME
from medseg.delivery.answers.options import WriteOptions
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.delivery.dicom.common import NOT_STATED
from medseg.io.dicom.elements.options import DicomOptions
from medseg.io.dicom.listing.find import find_series
from medseg.io.dicom.pixels.volume import read_volume
from medseg.io.images import read_label, write_label
from medseg.plans.sections.reading import Reading

STRUCTURES = ("kidney_left=1", "liver=2")


def drawn(tmp_path, heights=range(6), names=("kidney_left", "liver")):
    """An RTSTRUCT with a box of 16 pixels for each structure at each of these heights; its axial series has six."""
    volume = written_series(tmp_path / "study")
    left = {name: 1.5 + 5 * number for number, name in enumerate(names)}
    contours = {name: [box(x, 1.5, x + 4, 5.5, z) for z in heights] for name, x in left.items()}
    return save(rtstruct(contours, grid(volume.image.shape_zyx)), tmp_path / "drawn" / "case.rtstruct.dcm")


def written(tmp_path, path, *structures, **options):
    options = {"manual": True, **options}
    return dicom(path, tmp_path / "study", tmp_path / "out", DicomOutOptions(structures=structures, **options))


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


def test_labels_made_from_another_series_are_written_only_if_that_one_is_named(tmp_path, volume, file):
    key = volume.series.key
    entry = {"case": "case", "scan": [], "files": {file.name: "before a correction"}, "series": ["0123456789"]}
    ledger = file.with_name(LEDGER_NAME)
    ledger.write_text(json.dumps({"medseg": "1"}) + "\n" + json.dumps(entry) + "\n")
    options = DicomOutOptions(structures=STRUCTURES, manual=True)
    with pytest.raises(DataError, match=f"made from series 0123456789, and not from .*{key}.*another patient"):
        dicom(file, tmp_path / "study", tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    for source, series in ((volume.series.path, None), (tmp_path / "study", key)):
        result = dicom(file, source, tmp_path / "out", replace(options, series=series))
        assert "that both are of one patient is not checked" in " ".join(result.notes)


def test_of_several_series_the_one_that_labels_were_made_from_is_taken(tmp_path, volume, file):
    for number in (4, 5):
        written_series(tmp_path / "two" / str(number), "oblique", SeriesInstanceUID=f"1.2.{number}")
    keys = [series.key for series in find_series(tmp_path / "two").series]
    options = DicomOutOptions(structures=STRUCTURES, manual=True)
    with pytest.raises(DataError, match="--series"):
        dicom(file, tmp_path / "two", tmp_path / "out", options)
    for key in keys:
        entry = {"case": "case", "scan": [], "files": {file.name: ""}, "series": [key]}
        file.with_name(LEDGER_NAME).write_text(json.dumps(entry))
        assert key in dicom(file, tmp_path / "two", tmp_path / "out", options).series


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


@pytest.mark.parametrize("mark", [{"Manufacturer": "another"}, {"ManufacturerModelName": "another"}, None])
def test_an_object_of_others_is_moved_aside(tmp_path, volume, file, mark):
    """Which is one is said by its header; what is no DICOM at all is of others as well."""
    first = written(tmp_path, file, *STRUCTURES)
    path = first.files["seg"]
    if mark is None:
        path.write_bytes(b"somebody's")
    else:
        dataset = pydicom.dcmread(path)
        dataset.update(mark)
        dataset.save_as(path)
    before = path.read_bytes()
    (note,) = written(tmp_path, file, *STRUCTURES).notes
    (kept,) = (tmp_path / "out").glob("earlier-*/*")
    assert kept.read_bytes() == before
    assert f"case.seg.dcm in {tmp_path / 'out'}, now in {kept.parent.name}" in note
    np.testing.assert_array_equal(pixels_of(path, volume), labels())
    assert written(tmp_path, file, *STRUCTURES).notes == (), "what medseg wrote itself is replaced"


@pytest.mark.parametrize("changed", [False, True])
def test_an_answer_of_predict_is_moved_aside_where_somebody_changed_it(tmp_path, volume, file, changed):
    """Whoever changes an object in place may leave it the name of its maker."""
    path = written(tmp_path, file, *STRUCTURES).files["seg"]
    lines = [{"model": "abc"}, {"case": "case", "scan": [], "files": {path.name: content_hash(path)}}]
    (path.parent / LEDGER_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    if changed:
        dataset = pydicom.dcmread(path)
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(path)
    notes = written(tmp_path, file, *STRUCTURES).notes
    assert len(notes) == len([*path.parent.glob("earlier-*/case.seg.dcm")]) == changed


def test_of_contours_outside_of_the_series_the_number_is_told(tmp_path):
    result = written(tmp_path, drawn(tmp_path, range(13)), *STRUCTURES)
    lost = [f"case.rtstruct.dcm: 7 contours of {name} lie outside of the scan" for name in ("kidney_left", "liver")]
    assert [*result.notes] == lost
    assert result.volumes["liver"] > 0


def test_a_structure_that_is_declared_and_not_there_is_told(tmp_path):
    result = written(tmp_path, drawn(tmp_path), "liver=1", "spleen=2")
    assert result.notes == ("case.rtstruct.dcm has no spleen; it holds kidney_left, liver",)
    assert result.volumes == {"liver": pytest.approx(6 * 16 * 3.0 * 2.0 * 1.5 / 1000), "spleen": 0}


def test_a_file_with_none_of_the_declared_structures_is_refused(tmp_path):
    """The hint is followed, also with a name that a shell would take apart."""
    path = drawn(tmp_path, names=("kidney left", "liver"))
    with pytest.raises(DataError, match=r"\(spleen\); it holds kidney left, liver\.") as caught:
        written(tmp_path, path, "spleen=1")
    assert not (tmp_path / "out").exists()
    hinted = [word for word in shlex.split(caught.value.hint) if "=" in word]
    assert re.search(r": --structures 'kidney left=1' --structures liver=2$", caught.value.hint)
    assert all(volume > 0 for volume in written(tmp_path, path, *hinted).volumes.values())
    with pytest.raises(DataError, match="it holds no structure"):
        written(tmp_path, drawn(tmp_path, names=()), "spleen=1")


def test_label_maps_are_not_written(tmp_path, volume, file):
    result = written(tmp_path, file, *STRUCTURES, write=WriteOptions(("nifti", "seg")))
    assert [*result.files] == ["seg"]
    assert [note.split(":")[0] for note in result.notes] == ["nifti in --write"]


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
    for blank in ("", " "):
        with pytest.raises(PlanError, match="--algorithm is blank"):
            written(tmp_path, file, *STRUCTURES, algorithm=blank, manual=False)


@pytest.mark.parametrize(
    ("said", "name", "version"),
    [
        ("other program 2.1", "other program", "2.1"),
        ("program v2", "program", "v2"),
        ("Total Segmentator", "Total Segmentator", NOT_STATED),
        ("nnU-Net2", "nnU-Net2", NOT_STATED),
    ],
)
def test_the_last_word_of_a_program_is_its_version_if_it_has_a_digit(tmp_path, volume, file, said, name, version):
    result = written(tmp_path, file, *STRUCTURES, algorithm=said, manual=False)
    algorithm = pydicom.dcmread(result.files["seg"]).SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (name, version)


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
