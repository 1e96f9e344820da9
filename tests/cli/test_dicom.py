"""`medseg dicom` from the command line."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")

from dicom.answers import labels, written_series
from small_sets import cli_runner

from medseg.cli.app import app
from medseg.core.errors import PlanError
from medseg.io.images import write_label

run = cli_runner()


def test_files_and_volumes_are_named_and_no_identifier(tmp_path):
    volume = written_series(tmp_path / "study")
    write_label(tmp_path / "case.nii.gz", volume.image.with_array(labels()[None]))
    what = ["--structures", "liver=1", "--structures", "spleen=2", "--write", "seg,report", "--algorithm", "other 2.0"]
    command = ["dicom", str(tmp_path / "case.nii.gz"), str(tmp_path / "study"), str(tmp_path / "out"), *what]
    done = run.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "seg: " in done.output
    assert "liver 0.801 ml" in done.output.replace("\n", " ")
    (record,) = [json.loads(line) for line in run.invoke(app, [*command, "--json"]).stdout.splitlines()]
    assert set(record["files"]) == {"seg", "report"}
    for secret in ("SECRET", "Doe", volume.series.uid):
        assert secret not in done.output + json.dumps(record)


def test_what_is_missing_is_asked_for(tmp_path):
    volume = written_series(tmp_path / "study")
    write_label(tmp_path / "case.nii.gz", volume.image.with_array(labels()[None]))
    command = ["dicom", str(tmp_path / "case.nii.gz"), str(tmp_path / "study"), str(tmp_path / "out"), "--manual"]
    done = run.invoke(app, [*command, "--structures", "blob=1"])
    assert isinstance(done.exception, PlanError)
    assert "No DICOM codes are known for blob" in done.exception.message


def test_notes_are_printed(tmp_path):
    volume = written_series(tmp_path / "study")
    write_label(tmp_path / "case.nii.gz", volume.image.with_array(labels()[None]))
    command = ["dicom", str(tmp_path / "case.nii.gz"), str(tmp_path / "study"), str(tmp_path / "out"), "--manual"]
    done = run.invoke(app, [*command, "--structures", "liver=1,spleen=2", "--write", "nifti,seg"])
    assert done.exit_code == 0, done.output
    assert "note: nifti in --write: without effect" in done.output
