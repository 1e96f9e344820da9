"""What layouts say of cases that they leave out, as findings."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.checking.layout_findings import layout_findings
from medseg.io.layouts.dataset import DataSet, LeftOut, Why, sentences
from medseg.io.layouts.find import find_cases
from medseg.planning.findings import ERRORS


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
    ("names", "expected"),
    [
        (("flair", "t1"), "missing label"),
        (("flair", "seg"), "missing channel"),
        (("t1",), "missing channel"),
    ],
)
def test_a_case_folder_without_a_file(tmp_path, save_nifti, names, expected):
    one = np.ones((2, 3, 4), np.uint8)
    for id, roles in {"a": ("flair", "t1", "seg"), "b": ("flair", "t1", "seg"), "c": names}.items():
        for role in roles:
            save_nifti(tmp_path / f"{id}/{id}_{role}.nii.gz", one)
    assert kinds(find_cases(tmp_path)) == {"c": expected}


def test_rows_of_a_table_without_a_file(tmp_path, save_nifti):
    for name in ("masks/a.nii.gz", "masks/c.nii.gz", "labels/a.nii.gz"):
        save_nifti(tmp_path / name, np.ones((2, 3, 4), np.uint8))
    rows = ("a,masks/a.nii.gz,labels/a.nii.gz", "b,masks/b.nii.gz,labels/a.nii.gz", "c,masks/c.nii.gz,images/c.nii.gz")
    (tmp_path / "cases.csv").write_text("\n".join(["id,scan,label", *rows, "d,masks/a.nii.gz,"]))
    findings = {finding.case: finding for finding in layout_findings(find_cases(tmp_path))}
    expected = {"b": "missing image", "c": "missing label", "d": "missing label"}  # whatever the folders are called
    assert {id: finding.kind for id, finding in findings.items()} == expected
    assert findings["b"].file == tmp_path / "masks/b.nii.gz"
    assert findings["c"].file == tmp_path / "images/c.nii.gz"


@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_reasons_keep_their_kind_whatever_their_words(kind):
    why = Why("there is no label", kind, Path("set/a.nii"))
    data = DataSet(Path("set"), "folders", ("MR",), None, [], [LeftOut("case", why), "only a note"])
    (finding,) = layout_findings(data)
    assert (finding.kind, finding.file, finding.severity) == (kind, Path("set/a.nii"), "error")
    assert finding.remedy


def test_a_reason_without_a_kind_leaves_open_what_is_meant():
    assert LeftOut("case", "a.nii and a.nii.gz would be the same case").kind == "ambiguous"


def test_a_sentence_on_what_was_left_out_has_its_parts():
    (one,) = sentences({"case": "it has no label"})
    assert (one, one.id, one.why) == ("case: it has no label", "case", "it has no label")
