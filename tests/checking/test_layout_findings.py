"""What layouts say of cases that they leave out, as findings."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.checking.layout_findings import layout_findings
from medseg.io.layouts.dataset import DataSet, LeftOut, sentences
from medseg.io.layouts.find import find_cases


def kinds(data):
    return {finding.case: finding.kind for finding in layout_findings(data)}


def test_pairs_without_a_counterpart(tmp_path, save_nifti):
    one = np.ones((2, 3, 4), np.uint8)
    for name in ("images/a", "images/b", "images/c", "labels/a", "labels/b", "labels/d"):
        save_nifti(tmp_path / f"{name}.nii.gz", one)
    data = find_cases(tmp_path)
    assert kinds(data) == {"c": "missing label", "d": "missing image"}
    findings = {finding.case: finding for finding in layout_findings(data)}
    assert findings["c"].message == f"c: there is no label of this name in {tmp_path / 'labels'}."
    assert (findings["c"].file, findings["c"].severity) == (tmp_path / "labels", "error")


def test_channels_that_are_missing_or_too_many(tmp_path, save_nifti):
    one = np.ones((2, 3, 4), np.uint8)
    for id, channels in {"a": (0, 1), "b": (0,), "c": (0, 1, 2)}.items():
        for number in channels:
            save_nifti(tmp_path / f"imagesTr/{id}_{number:04d}.nii.gz", one)
        save_nifti(tmp_path / f"labelsTr/{id}.nii.gz", one)
    declared = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps({**declared, "numTraining": 3, "file_ending": ".nii.gz"}))
    assert kinds(find_cases(tmp_path)) == {"b": "missing channel", "c": "other channels"}


def test_files_that_a_list_names_in_vain(tmp_path, save_nifti):
    one = np.ones((2, 3, 4), np.uint8)
    for id in "abc":
        save_nifti(tmp_path / f"imagesTr/{id}.nii.gz", one)
        save_nifti(tmp_path / f"labelsTr/{id}.nii.gz", one)
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    (tmp_path / "imagesTr/c.nii.gz").unlink()
    pairs = [{"image": f"./imagesTr/{id}.nii.gz", "label": f"./labelsTr/{id}.nii.gz"} for id in "abc"]
    listed = {"modality": {"0": "MR"}, "labels": {"0": "background", "1": "organ"}, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(listed))
    data = find_cases(tmp_path)
    assert kinds(data) == {"b": "missing label", "c": "missing image"}
    assert {finding.case: finding.file for finding in layout_findings(data)}["b"] == tmp_path / "labelsTr/b.nii.gz"


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        ("there is no seg; there is flair, t1", "missing label"),
        ("there is no t1; there is flair, seg", "missing channel"),
        ("table.csv, line 3: it has no label file", "missing label"),
        ("table.csv, line 3: there is no label file set/images/a.nii", "missing label"),
        ("table.csv, line 3: there is no image file set/labels/a.nii", "missing image"),
        ("a.nii and a.nii.gz in images would be the same case; keep one of them", "ambiguous"),
    ],
)
def test_reasons_of_other_layouts(why, kind):
    data = DataSet(Path("set"), "folders", ("MR",), None, [], [LeftOut("case", why), "only a note"])
    assert kinds(data) == {"case": kind}


def test_a_sentence_on_what_was_left_out_has_its_parts():
    (one,) = sentences({"case": "it has no label"})
    assert (one, one.id, one.why) == ("case: it has no label", "case", "it has no label")
