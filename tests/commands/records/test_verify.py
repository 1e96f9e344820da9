"""`medseg verify` holds files against the manifests beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medseg.commands.records.verify import verify
from medseg.core.errors import DataError
from medseg.delivery.provenance.manifest import listed, write_entry


@pytest.fixture
def folder(answered: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    shutil.copytree(answered, tmp_path / "copy")
    return tmp_path / "copy"


def test_what_is_as_it_was_verifies(answered: Path, small_model: Path) -> None:
    verification = verify(answered / "out", [answered / "scans"], small_model)
    assert verification.changes == []
    shown = len([*(answered / "out" / "view").rglob("*.*")])
    assert len(verification.files) == 3 + 7 + shown + 4 + 2, "answers, tables, what the page shows, scans, weights"
    assert verify(answered / "out", [], small_model / "fold_0").changes == []


def test_what_changed_is_missing_or_is_new_is_named(folder: Path, small_model: Path, tmp_path: Path) -> None:
    answer, scan = folder / "out" / "scan1.nii.gz", folder / "scans" / "scan2_0000.nii.gz"
    content = bytearray(answer.read_bytes())
    content[100] ^= 1
    answer.write_bytes(content)
    (folder / "out" / "scan2.nii.gz").unlink()
    (folder / "out" / "mine.nii.gz").touch()
    (folder / "out" / ".DS_Store").touch()
    scan.write_bytes(scan.read_bytes() + b"\0")
    shutil.copytree(small_model, tmp_path / "model")
    (tmp_path / "model" / "fold_1" / "weights.safetensors").write_bytes(b"")
    changes = verify(folder / "out", [folder / "scans"], tmp_path / "model").changes
    assert {(change.file, change.role, change.state) for change in changes} == {
        ("scan1.nii.gz", "output", "changed"),
        ("scan2.nii.gz", "output", "missing"),
        ("mine.nii.gz", "output", "new"),
        ("scan2_0000.nii.gz", "input", "changed"),
        ("fold_1/weights.safetensors", "model", "changed"),
    }


def test_a_scan_that_changed_is_named_also_beside_references_that_did_not(tmp_path: Path) -> None:
    """Names alone do not say whose a file is: what holds nothing that another command read is a changed scan."""
    out, scans, labels = (tmp_path / name for name in ("out", "scans", "labels"))
    for folder in (out, scans, labels):
        folder.mkdir()
        (folder / "a.nii.gz").write_text(folder.name)
    answers = listed(out, [out / "a.nii.gz"])
    read = {"predict": listed(scans, [scans / "a.nii.gz"]), "evaluate": listed(labels, [labels / "a.nii.gz"])}
    for verb, inputs in read.items():
        case = {"case": "a", "inputs": inputs, "files": answers if verb == "predict" else []}
        write_entry(out, verb, {"complete": True, "cases": [case]})
    assert verify(out, [scans, labels]).changes == []
    assert verify(out, [labels]).notes == ["of 1 file that predict read none lies in the source; not compared"]
    (scans / "a.nii.gz").write_text("changed")
    for sources in ([scans], [scans, labels], [labels, scans]):
        changes = verify(out, sources).changes
        assert ("a.nii.gz", "predict", "changed") in {(one.file, one.command, one.state) for one in changes}


@pytest.mark.parametrize("damage", ["{}", "{"])
def test_nothing_to_verify_is_an_error(tmp_path: Path, damage: str) -> None:
    with pytest.raises(DataError, match=r"There is no manifest\.json in"):
        verify(tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        verify(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text(damage)
    with pytest.raises(DataError, match="not a manifest"):
        verify(tmp_path)


def test_odd_entries_are_passed_over(tmp_path: Path) -> None:
    odd = {"complete": True, "files": [1, {"file": 2}], "cases": {"a": 1}, "model": {"weights": None}, "options": None}
    content = {"schema_version": 1, "commands": {"predict": odd}}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert verify(tmp_path, [tmp_path], tmp_path).files == []
    odd |= {"options": ["x"], "cases": [{"inputs": [{"series": "../..#0123456789", "sha256": "0"}]}]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    (file,) = verify(tmp_path, [tmp_path]).files
    assert file.state == "missing"
