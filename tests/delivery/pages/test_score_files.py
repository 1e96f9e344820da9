"""The pictures of a report lead to pages that show these cases with reference and prediction."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.commands.evaluate.evaluate import evaluate
from medseg.commands.evaluate.options import EvaluateOptions
from medseg.delivery.answers import case_pages
from medseg.delivery.pages import score_files

REFERENCE = np.zeros((6, 8, 8), np.uint8)
REFERENCE[2:5, 2:6, 2:6] = 1


@pytest.fixture
def data_set(tmp_path: Path, save_nifti: Callable[..., Path]) -> Path:
    """Five cases whose predictions miss more and more: e is the worst, c the median, a the best."""
    for number, case in enumerate("abcde"):
        prediction = REFERENCE.copy()
        prediction[2, : 2 + number] = 0
        save_nifti(tmp_path / f"set/imagesTr/{case}_0000.nii.gz", REFERENCE * 50.0 + number)
        save_nifti(tmp_path / f"set/labelsTr/{case}.nii.gz", REFERENCE)
        save_nifti(tmp_path / f"pred/{case}.nii.gz", prediction)
    text = '{"channel_names": {"0": "MR"}, "labels": {"background": 0, "one": 1}, "file_ending": ".nii.gz"}'
    (tmp_path / "set/dataset.json").write_text(text)
    return tmp_path / "set"


def scored(data_set: Path, output: str = "scores") -> set[str]:
    """Evaluate, and return where the page leads to."""
    folder = data_set.parent / output
    evaluate(data_set.parent / "pred", data_set, options=EvaluateOptions(output=folder))
    links = re.findall(r'<a [^>]*href="([^"#]+)"', (folder / "report.html").read_text())
    assert all((folder / link).is_file() for link in links)
    return set(links)


def test_worst_median_and_best_case_have_a_viewer_with_both_label_maps(data_set: Path) -> None:
    assert scored(data_set) == {f"report_cases/{case}.html" for case in "ace"}
    page = (data_set.parent / "scores/report_cases/e.html").read_text()
    assert "prediction" in page
    assert "reference" in page
    assert str(data_set.parent) not in page


def test_pages_of_earlier_scores_go_and_those_of_others_stay(data_set: Path) -> None:
    scored(data_set)
    cases = data_set.parent / "scores/report_cases"
    (cases / "mine.html").write_text("notes")
    (cases / "c.html").write_text("notes on c")
    (data_set.parent / "pred/e.nii.gz").unlink()
    assert scored(data_set) == {"report_cases/a.html", "report_cases/d.html"}, "the median is c, whose name is taken"
    assert {path.name for path in cases.iterdir()} == {"a.html", "c.html", "d.html", "mine.html"}
    assert (cases / "c.html").read_text() == "notes on c"


def test_large_scans_and_those_of_another_grid_have_none(
    data_set: Path, save_nifti: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_nifti(data_set / "imagesTr/e_0000.nii.gz", np.zeros((9, 9, 9)))
    assert scored(data_set) == {"report_cases/a.html", "report_cases/c.html"}
    monkeypatch.setattr(score_files, "SMALL_VOXELS", REFERENCE.size - 1)
    assert REFERENCE.size < case_pages.SMALL_VOXELS
    assert scored(data_set) == set()


def test_what_is_in_the_way_of_a_viewer_costs_no_report(data_set: Path) -> None:
    (data_set.parent / "scores").mkdir()
    (data_set.parent / "scores" / "report_cases").write_text("a file")
    assert scored(data_set) == set()
    page = (data_set.parent / "scores" / "report.html").read_text()
    captions = re.findall(r"(\w+) case: [ace]; Dice [\d.]+; there is no viewer: File exists", page)
    assert {*captions} == {"Worst", "Median", "Best"}
    assert (data_set.parent / "scores" / "manifest.json").is_file()
