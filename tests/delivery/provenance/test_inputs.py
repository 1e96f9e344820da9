"""What manifests say of the files that a case is read from."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from medseg.commands.records.verify import verify
from medseg.core.case import Case
from medseg.delivery.provenance import manifest
from medseg.delivery.provenance.inputs import combined_hash, hash_inputs, identifiers, input_entries


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_file_of_a_case_is_hashed_in_order(tmp_path: Path) -> None:
    for name in ("b_0000.nii.gz", "a_0001.nii.gz", "label.nii.gz"):
        (tmp_path / name).write_bytes(name.encode())
    case = Case("x", "x", (tmp_path / "b_0000.nii.gz", tmp_path / "a_0001.nii.gz"), tmp_path / "label.nii.gz")
    expected = [{"file": name, "sha256": sha(name.encode())} for name in ("b_0000.nii.gz", "a_0001.nii.gz")]
    assert input_entries(case, tmp_path) == expected
    assert input_entries(case, tmp_path, hash_inputs(case)) == expected
    assert [file["file"] for file in input_entries(case, tmp_path, label=True)][2:] == ["label.nii.gz"]
    assert identifiers(case) == []


def test_a_file_that_is_gone_has_no_hash(tmp_path: Path) -> None:
    case = Case("x", "x", (tmp_path / "gone.nii.gz",))
    assert input_entries(case, tmp_path) == [{"file": "gone.nii.gz", "sha256": None}]


def test_a_combined_hash_takes_no_notice_of_order() -> None:
    assert combined_hash(["b", "a"]) == combined_hash(["a", "b"]) == sha(b"a\nb\n")


@pytest.mark.real
def test_a_series_is_told_by_its_content_and_names_nobody(data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from medseg.io.dicom.listing.find import find_series

    study = shutil.copytree(data_dir / "hippocampus_dicom" / "mr_study1", tmp_path / "Doe^John")
    (series,) = find_series(study).series
    case = Case("study", "study", (series.path,))
    (entry,) = input_entries(case, tmp_path)
    files = [path for path in study.rglob("*") if path.is_file()]
    assert entry == {
        "series": series.key,
        "instances": len(files),
        "sha256": combined_hash(sha(path.read_bytes()) for path in files),
    }
    (told,) = identifiers(case)
    assert told["SeriesInstanceUID"] == series.uid
    assert told["StudyInstanceUID"] == series.study_uid
    assert len(told["SOPInstanceUID"]) == len(files)

    out = tmp_path / "out"
    out.mkdir()
    manifest.write_entry(out, "predict", {"complete": True, "cases": [{"case": "study", "inputs": [entry]}]})
    for number, path in enumerate(files):
        path.rename(path.with_name(f"renamed{number}"))
    assert [file.state for file in verify(out, [study]).files] == ["same"]
    assert [file.state for file in verify(out, [tmp_path / "Doe^John"]).files] == ["same"]
    first = study / files[0].relative_to(study).with_name("renamed0")
    first.write_bytes(first.read_bytes() + b"\0\0")
    assert [file.state for file in verify(out, [study]).files] == ["changed"]
    shutil.rmtree(study)
    study.mkdir()
    assert [file.state for file in verify(out, [study]).files] == ["missing"]
