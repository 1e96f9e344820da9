"""The manifests that predictions and evaluations leave."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.records.verify import verify
from medseg.core.errors import Cancelled
from medseg.core.progress import Progress
from medseg.delivery.answers.options import WriteOptions


@pytest.fixture
def folder(answered: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    shutil.copytree(answered, tmp_path / "copy")
    return tmp_path / "copy"


def entry(out: Path, command: str = "predict") -> dict[str, Any]:
    return dict(json.loads((out / "manifest.json").read_text())["commands"][command])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_manifest_of_answers_says_what_made_them(answered: Path, small_model: Path) -> None:
    entries = entry(answered / "out")
    assert entries["complete"]
    assert entries["started"] <= entries["ended"]
    model = entries["model"]
    assert (model["name"], model["configuration"], model["folds"]) == ("toy", "main", ["0", "1"])
    assert model["weights"] == [
        {
            "fold": fold,
            "file": f"fold_{fold}/weights.safetensors",
            "sha256": digest(small_model / f"fold_{fold}/weights.safetensors"),
        }
        for fold in ("0", "1")
    ]
    assert entries["computed_with"]["devices"] == ["cpu"]
    assert entries["computed_with"]["precision"] == "float32"
    bad, first, *_ = sorted(entries["cases"], key=lambda case: case["case"])
    assert (bad["case"], "problem" in bad) == ("bad", True)
    assert first["inputs"] == [{"file": "scan0_0000.nii.gz", "sha256": digest(answered / "scans/scan0_0000.nii.gz")}]
    assert first["files"] == [{"file": "scan0.nii.gz", "sha256": digest(answered / "out/scan0.nii.gz")}]
    assert first["grid"]["shape_zyx"] == [14, 18, 17]
    assert first["grid"]["orientation"] == "LAS"
    assert first["network_grid"] == {
        "box": [[0, 14], [0, 18], [0, 17]],
        "spacing": [1.0, 1.2, 1.2],
        "shape": [21, 15, 14],
        "resampled": True,
    }
    assert set(first["volumes"]) == {"one", "two"}
    tables = [
        "labels.json",
        "labels.itksnap.txt",
        "labels.slicer.ctbl",
        "volumes.csv",
        "volumes_wide.csv",
        "index.html",
    ]
    named = [file["file"] for file in entries["files"]]
    shown = [f"view/scan{n}{end}" for n in range(3) for end in (".html", "/slice_1.png")]
    assert named[:7] == [*tables, "predict.jsonl"]
    assert {*shown} <= {*named[7:]}


def test_the_manifest_names_no_folder_of_the_user(answered: Path, small_model: Path) -> None:
    text = (answered / "out" / "manifest.json").read_text()
    assert str(answered) not in text
    assert str(small_model) not in text


def test_scores_have_an_entry_of_their_own_and_are_verified_with_the_answers(folder: Path) -> None:
    references = folder / "references"
    references.mkdir()
    shutil.copy(folder / "out" / "scan0.nii.gz", references)
    shutil.copy(folder / "out" / "scan1.nii.gz", references)
    evaluate(folder / "out", references)
    assert set(json.loads((folder / "out" / "manifest.json").read_text())["commands"]) == {"predict", "evaluate"}
    verification = verify(folder / "out", [references])
    assert verification.changes == []
    assert verification.notes == ["of 4 files that predict read none lies in the source; not compared"]
    (references / "scan1.nii.gz").write_bytes(b"other")
    (folder / "out" / "metrics.csv").unlink()
    changes = verify(folder / "out", [references, folder / "scans"]).changes
    assert {(change.file, change.command, change.state) for change in changes} == {
        ("scan1.nii.gz", "evaluate", "changed"),
        ("metrics.csv", "evaluate", "missing"),
    }


def test_a_run_that_was_cut_short_says_so_and_is_completed(
    tmp_path: Path, write_scans: Callable[[Path, int], Path], small_model: Path
) -> None:
    scans, out = write_scans(tmp_path / "scans", 12), tmp_path / "out"  # more than are on their way at once

    def stop(event: Progress) -> None:
        if event.stage == "predict" and event.done >= 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        predict(scans, out, small_model, options=PredictOptions(device="cpu", page=False), callback=stop)
    before = entry(out)
    done = [case for case in before["cases"] if "files" in case]
    assert not before["complete"]
    assert 2 <= len(done) < 12
    assert all(case["problem"] == "not answered yet" for case in before["cases"] if case not in done)
    verification = verify(out)
    assert (verification.changes, verification.notes) == ([], ["manifest.json: predict was cut short"])
    predict(scans, out, small_model, options=PredictOptions(device="cpu", keep_finished=True))
    after = entry(out)
    assert after["complete"]
    assert [case for case in after["cases"] if case in done] == done, "what the first run noted is kept"
    assert verify(out, [scans]).changes == []


@pytest.mark.real
def test_patients_are_named_only_on_request(tmp_path: Path, data_dir: Path, small_model: Path) -> None:
    pytest.importorskip("highdicom")
    from pydicom import dcmread

    study, out = data_dir / "hippocampus_dicom" / "mr_study2", tmp_path / "out"
    sources = [dcmread(path, stop_before_pixels=True) for path in sorted(study.rglob("*.dcm"))]
    secrets = {
        str(image[name].value) for image in sources for name in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
    }
    for identify in (False, True):
        write = WriteOptions(generic_codes=True)
        options = PredictOptions(device="cpu", identify=identify, write=write)
        assert not predict(study, out, small_model, options=options).failed
        (case,) = entry(out)["cases"]
        assert case["inputs"][0]["instances"] == len(sources)
        assert case["attributes"] == {"series": "the only series of modality MR"}
        assert case["read"]["geometry"]["slices"] == len(sources)
        assert verify(out, [study]).changes == []
        told = {name: (out / name).read_text() for name in ("manifest.json", "predict.jsonl", "labels.json")}
        named = {name for name, text in told.items() if any(secret in text for secret in secrets)}
        assert named == ({"manifest.json"} if identify else set())
    (identifiers,) = case["identifiers"]
    assert sorted(identifiers["SOPInstanceUID"]) == sorted(str(image.SOPInstanceUID) for image in sources)
