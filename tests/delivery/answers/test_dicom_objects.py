"""Answers to DICOM scans: SEG and label map unless told otherwise, checked before anything is computed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

import highdicom as hd
import pydicom
from dicom.answers import errors_of_dciodvfy
from dicom.builders import write_series
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.core.errors import DataError, PlanError
from medseg.delivery.answers.options import WriteOptions
from medseg.delivery.answers.prediction_ledger import LEDGER_NAME
from medseg.io.dicom.listing.find import find_series
from medseg.io.images import read_label

CODES = "one=liver,two=left kidney"


def study(folder: Path, seed: int = 0, **changes: object) -> Path:
    rng = np.random.default_rng(seed)
    array = rng.normal(100, 30, size=(14, 18, 17)).astype(np.int16)
    write_series(folder, array, series=folder.name, **changes)
    return folder


def run(source, out, model, **write):
    options = PredictOptions(device="cpu", write=WriteOptions(**{"codes": CODES, **write}))
    return predict(source, out, model, options=options)


def test_a_study_is_answered_by_a_seg_and_the_same_as_nifti(tmp_path, small_model):
    source, out = study(tmp_path / "case7"), tmp_path / "out"
    result = run(source, out, small_model)
    assert {path.name for path in out.iterdir()} >= {"case7.nii.gz", "case7.seg.dcm"}
    array = read_label(result.files["case7"]).array[0]
    assert array.any()
    seg = hd.seg.segread(out / "case7.seg.dcm")
    uids = [slice_.sop_instance_uid for slice_ in find_series(source).series[0].slices]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, combine_segments=True)
    np.testing.assert_array_equal(pixels, array)
    assert seg.SegmentSequence[0].SegmentAlgorithmName == "medseg toy"
    assert errors_of_dciodvfy(out / "case7.seg.dcm") == []
    entry = json.loads((out / LEDGER_NAME).read_text().splitlines()[1])
    assert sorted(entry["files"]) == ["case7.nii.gz", "case7.seg.dcm"]


def test_everything_at_once_and_volumes_agree(tmp_path, small_model):
    result = run(study(tmp_path / "case7"), tmp_path / "out", small_model, forms=("seg", "rt", "report", "nifti"))
    names = {path.name for path in (tmp_path / "out").glob("case7*")}
    assert names == {"case7.nii.gz", "case7.seg.dcm", "case7.rtstruct.dcm", "case7.sr.dcm"}
    groups = hd.sr.srread(tmp_path / "out" / "case7.sr.dcm").content.get_volumetric_roi_measurement_groups()
    volumes = {group.tracking_identifier: group.get_measurements()[0].value for group in groups}
    assert volumes == pytest.approx(result.volumes["case7"], rel=1e-5)


def test_only_what_is_asked_for_is_written(tmp_path, small_model):
    result = run(study(tmp_path / "case7"), tmp_path / "out", small_model, forms=("seg",), labelmap=True)
    assert [path.name for path in (tmp_path / "out").glob("case7*")] == ["case7.seg.dcm"]
    assert result.files["case7"].name == "case7.seg.dcm"
    assert pydicom.dcmread(result.files["case7"]).SegmentationType == "LABELMAP"
    again = run(study(tmp_path / "case7"), tmp_path / "out2", small_model, forms=("nifti",), codes=None)
    assert again.files["case7"].name == "case7.nii.gz"


def test_uncoded_structures_are_asked_for_before_anything_is_computed(tmp_path, small_model):
    with pytest.raises(PlanError, match="No DICOM codes are known for one, two") as caught:
        run(study(tmp_path / "case7"), tmp_path / "out", small_model, codes=None, forms=("seg",))
    assert "--write nifti leaves DICOM objects out" in caught.value.hint
    assert not (tmp_path / "out").exists()
    assert not run(study(tmp_path / "case7"), tmp_path / "out", small_model, codes=None, generic_codes=True).failed
    with pytest.raises(PlanError, match="No DICOM codes are known for two"):
        run(study(tmp_path / "case7"), tmp_path / "out2", small_model, codes="one=liver")


def test_without_codes_label_maps_are_written_and_the_command_for_a_seg_can_be_pasted(
    tmp_path, small_model, monkeypatch
):
    result = run(study(tmp_path / "a study's scan"), tmp_path / "an out", small_model, codes=None)
    out = tmp_path / "an out"
    assert not result.failed
    assert {path.name for path in out.glob("a study*")} == {"a study's scan.nii.gz"}
    assert "a study's scan" in (out / "volumes.csv").read_text()
    (note,) = [note for note in result.notes if "No DICOM SEG is written" in note]
    command = shlex.split(note.partition("structures: ")[2])
    assert command[0] == "medseg"
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output
    seg = hd.seg.segread(out / "a study's scan.seg.dcm")
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["one", "two"]


def test_the_command_for_a_seg_reads_as_the_model_does_and_names_a_scan_that_can_have_one(tmp_path, small_model):
    studies = tmp_path / "studies"
    study(studies / "a", 1, FrameOfReferenceUID=None, StudyInstanceUID="1.2.3")
    study(studies / "b", move=lambda k: (0.0, 0.0, 3.0 * k + (3.0 if k > 3 else 0.0)))
    options = PredictOptions(device="cpu", allow_gaps=True)
    result = predict(studies, tmp_path / "out", small_model, options=options)
    assert not result.failed
    (note,) = [note for note in result.notes if "No DICOM SEG is written" in note]
    done = CliRunner().invoke(app, shlex.split(note.partition("structures: ")[2])[1:])
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "out").glob("*.seg.dcm")] == ["b.seg.dcm"]


def test_a_series_without_identifiers_is_refused_where_a_seg_is_asked_for(tmp_path, small_model):
    studies = tmp_path / "studies"
    study(studies / "good")
    study(studies / "lacking", 1, FrameOfReferenceUID=None, StudyInstanceUID="1.2.3")
    asked = run(studies, tmp_path / "asked", small_model, forms=("seg", "nifti"))
    assert list(asked.files) == ["good"]
    assert "lacks FrameOfReferenceUID" in asked.failed["lacking"]
    assert not list((tmp_path / "asked").glob("lacking*"))
    default = run(studies, tmp_path / "default", small_model)
    assert {case: path.name for case, path in default.files.items()} == {
        "good": "good.nii.gz",
        "lacking": "lacking.nii.gz",
    }
    assert any("no DICOM SEG" in note and "FrameOfReferenceUID" in note for note in default.notes)
    assert not any("SECRET" in note for note in default.notes)
    assert not (tmp_path / "default" / "lacking.seg.dcm").exists()


def test_other_scans_are_answered_as_ever(tmp_path, small_model, write_scans):
    scans = write_scans(tmp_path / "scans", 1)
    result = run(scans, tmp_path / "out", small_model, codes=None)
    assert [path.name for path in result.files.values()] == ["scan000.nii.gz"]
    with pytest.raises(DataError, match="none of these scans is DICOM"):
        run(scans, tmp_path / "out2", small_model, forms=("seg",))
    notes = run(scans, tmp_path / "out", small_model, labelmap=True).notes
    assert [note for note in notes if note.startswith("--codes and --labelmap: without effect")]


def test_objects_of_an_older_label_map_go_unless_they_were_changed(tmp_path, small_model):
    source, out = study(tmp_path / "case7"), tmp_path / "out"
    run(source, out, small_model, forms=("nifti", "seg", "rtstruct"))
    with (out / "case7.rtstruct.dcm").open("ab") as stream:
        stream.write(b"corrected")
    run(source, out, small_model, forms=("nifti",), codes=None)
    assert {path.name for path in out.glob("case7*")} == {"case7.nii.gz", "case7.rtstruct.dcm"}


def test_unknown_forms_are_refused(tmp_path, small_model):
    with pytest.raises(PlanError, match="not written as 'dcm'"):
        run(study(tmp_path / "case7"), tmp_path / "out", small_model, forms=("dcm",))


def test_a_finished_study_is_left_alone_until_its_codes_change(tmp_path, small_model):
    source = study(tmp_path / "case7")

    def again(codes):
        write = WriteOptions(codes=codes)
        options = PredictOptions(device="cpu", write=write, keep_finished=True)
        return predict(source, tmp_path / "out", small_model, options=options)

    assert again(CODES).kept == ()
    before = (tmp_path / "out" / "case7.seg.dcm").read_bytes()
    assert again(CODES).kept == ("case7",)
    assert (tmp_path / "out" / "case7.seg.dcm").read_bytes() == before
    with pytest.raises(DataError, match="made with other settings"):
        again("one=spleen,two=left kidney")
