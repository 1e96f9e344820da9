"""README.txt of the folders that medseg writes, and the page of the documentation that says more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.delivery.dicom.write import SUFFIXES
from medseg.delivery.provenance.folder_files import FOLDER_FILES, FolderKind, readme_text, write_readme

PAGE = ROOT / "docs" / "prediction" / "answer-files.md"
EVERYTHING = {"probabilities": True, "entropy": True, "spread": True}


@pytest.mark.parametrize("kind", FOLDER_FILES)
def test_every_file_stands_on_the_page(kind: FolderKind) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [row.name for row in FOLDER_FILES[kind] if f"`{row.name}`" not in text] == []


@pytest.mark.parametrize("kind", FOLDER_FILES)
def test_the_text_fits_a_terminal_and_has_every_row(kind: FolderKind) -> None:
    text = readme_text(FOLDER_FILES[kind])
    assert max(map(len, text.splitlines())) <= 100
    assert all(text.count(f"\n{row.name} ") == 1 for row in FOLDER_FILES[kind])


def test_every_file_of_a_prediction_and_an_evaluation_is_a_row(
    tmp_path: Path, write_scans: Callable[[Path, int], Path], small_model: Path
) -> None:
    from medseg.delivery.answers.options import Maps

    out, scans = tmp_path / "out", write_scans(tmp_path / "scans", 2)
    options = PredictOptions(device="cpu", maps=Maps(**EVERYTHING), overlay=True, instances=True)
    result = predict(scans, out, small_model, options=options)
    evaluate(out, shutil.copytree(out, tmp_path / "references"))
    rows = FOLDER_FILES["answers"]
    names = [path.name + "/" * path.is_dir() for path in out.iterdir() if path.name != "README.txt"]
    assert [name for name in names if not any(row.lies_in([name]) for row in rows)] == []
    text = (out / "README.txt").read_text()
    listed = [row.name for row in rows if f"\n{row.name} " in text]
    assert listed == [row.name for row in rows if row.lies_in(names)]
    assert {"CASE.nii.gz", "metrics.json", "spread/", "instances.csv"} <= {*listed}
    assert "quality.html" not in listed
    assert len(result.files) == 2


def test_objects_of_dicom_are_called_as_they_are_written() -> None:
    names = [row.name for row in FOLDER_FILES["answers"]]
    assert all(f"CASE{suffix}" in names for suffix in SUFFIXES.values())


def test_a_readme_of_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("Mine.\n")
    write_readme(tmp_path, "plans")
    assert (tmp_path / "README.txt").read_text() == "Mine.\n"
    (tmp_path / "README.txt").unlink()
    for _ in range(2):
        write_readme(tmp_path, "plans")
    assert "NAME.cases.csv" in (tmp_path / "README.txt").read_text()
