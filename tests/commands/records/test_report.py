"""`medseg report` makes the page of a run again, from what there is."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from toy_workspace import write_toy_workspace

from medseg.commands.records.report import ReportResult, report
from medseg.commands.records.verify import verify
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train
from medseg.core.errors import ModelError
from medseg.core.files import write_json
from medseg.models.workspace import splits_path


def test_a_page_is_made_again_with_scores_and_without_the_data_set(tmp_path: Path) -> None:
    write_toy_workspace(tmp_path)
    run = train(None, tmp_path, TrainOptions(device="cpu", steps=5)).folder
    first = (run / "report.html").read_text(encoding="utf-8")
    assert report(workspace=tmp_path) == report(run, tmp_path) == ReportResult((run / "report.html",), {})
    again = (run / "report.html").read_text(encoding="utf-8")
    assert again.count("data:image/png") == first.count("data:image/png") > 0
    assert verify(run).changes == [], "the manifest knows the new page"
    (tmp_path / "data").rename(tmp_path / "away")
    [why] = report(workspace=tmp_path).failed.items()
    assert why[0] == str(run)
    assert why[1].startswith("no scores, because the data set is not there: ")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("o scores, because the data set is not there") == 2, "in the first line and among the facts"
    assert "none was kept apart" not in page
    report(workspace=tmp_path, data=tmp_path / "away")
    assert "no scores" not in (run / "report.html").read_text(encoding="utf-8")


def test_cases_without_an_answer_are_named(tmp_path: Path) -> None:
    write_toy_workspace(tmp_path)
    write_json(splits_path(tmp_path / "plans" / "toy.yaml"), [{"train": ["0", "1"], "val": ["2", "3"]}])
    run = train(None, tmp_path, TrainOptions(device="cpu", steps=2)).folder
    (run / "validation" / "2.nii.gz").unlink()
    assert report(workspace=tmp_path).failed == {"2": "there is no answer to it, or no label"}
    assert "there is no answer to it, or no label" in (run / "report.html").read_text(encoding="utf-8")


def test_a_page_that_is_made_again_still_says_what_training_knew(
    tmp_path: Path, command_line: Callable[..., Any]
) -> None:
    write_toy_workspace(tmp_path)
    write_json(splits_path(tmp_path / "plans" / "toy.yaml"), [{"train": ["0", "1"], "val": ["2", "3"]}])
    for case in ("1", "2"):
        image = tmp_path / "data" / f"{case}_image.nii.gz"
        image.write_bytes(image.read_bytes()[:400])
    trained = train(None, tmp_path, TrainOptions(device="cpu", steps=2))
    assert set(trained.failed) == {"1", "2"}
    first = (trained.folder / "report.html").read_text(encoding="utf-8")
    assert report(workspace=tmp_path).failed == {"2": trained.failed["2"]}
    again = (trained.folder / "report.html").read_text(encoding="utf-8")
    for text in (f"not trained on 1: {trained.failed['1']}", f"2: {trained.failed['2']}", *trained.notes):
        assert escape(text) in first
        assert escape(text) in again
    shown = command_line("report", "--workspace", tmp_path)
    assert shown.returncode == 1
    assert "1 fold or case without scores" in shown.stdout


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs" / "empty" / "main").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"holds no run: there is no fold_0/plan\.yaml in it"):
        report(tmp_path / "runs" / "empty" / "main", tmp_path)
