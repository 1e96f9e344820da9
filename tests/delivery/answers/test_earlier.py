"""Scores of answers that are replaced are moved aside, with their entry in the manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.commands.predict.options import PredictOptions
from medseg.commands.predict.predict import predict
from medseg.commands.train.validate import validate_fold
from medseg.core.case import Case
from medseg.core.errors import Cancelled
from medseg.core.progress import Progress
from medseg.delivery.answers.earlier import DESCRIBING, move_aside
from medseg.delivery.provenance.folder_files import FOLDER_FILES
from medseg.delivery.provenance.manifest import read_entries, write_entry
from medseg.inference.predictor import Predictor
from medseg.models.run_files import METRICS, METRICS_CSV, POOLED_CSV, RANKING


def write_scores(folder: Path) -> None:
    for name in DESCRIBING:
        (folder / name).write_text("of the answers before")
    for command in {*DESCRIBING.values()}:
        write_entry(folder, command, {"complete": True})
    (folder / "report_cases").mkdir(exist_ok=True)
    (folder / "report_cases" / "a.html").write_text("a case of the answers before")


def test_what_describes_answers_is_moved_and_a_second_time_elsewhere(tmp_path: Path) -> None:
    assert move_aside(tmp_path) is None
    for number in (1, 2):
        write_scores(tmp_path)
        assert f"{', '.join(DESCRIBING)} describe earlier answers" in str(move_aside(tmp_path))
        folders = list(tmp_path.glob("earlier-*"))
        assert len(folders) == number
        assert all({*DESCRIBING} < {path.name for path in folder.iterdir()} for folder in folders)
        assert all({*read_entries(folder)} == {*DESCRIBING.values()} for folder in folders)
        assert all((folder / "report_cases" / "a.html").is_file() for folder in folders), "the report leads there"
        assert not (tmp_path / "report_cases").exists()
        assert read_entries(tmp_path) == {}


def test_predict_moves_old_scores_only_where_it_replaces_answers(
    tmp_path: Path, small_model: Path, write_scans: Callable[[Path, int], Path]
) -> None:
    scans, out = write_scans(tmp_path / "scans", 1), tmp_path / "out"
    for keep, moved in ((False, 0), (True, 0), (False, 1)):
        options = PredictOptions(device="cpu", folds=["0"], keep_finished=keep)
        result = predict(scans, out, small_model, options=options)
        assert len(list(out.glob("earlier-*"))) == moved
        assert sum("describe earlier answers" in note for note in result.notes) == moved
        write_scores(out)


def test_no_file_of_the_answers_before_is_left_beside_new_ones(
    tmp_path: Path, small_model: Path, write_scans: Callable[[Path, int], Path]
) -> None:
    scans, out = write_scans(tmp_path / "scans", 1), tmp_path / "out"
    options = PredictOptions(device="cpu", folds=["0"])
    predict(scans, out, small_model, options=options)
    # pages that another program wrote stay, and the records of both commands are read before they are replaced
    names = {note.name for note in FOLDER_FILES["answers"] if not note.patterns and not note.name.endswith("/")}
    names -= {"index.html", "quality.html", "predict.jsonl", "manifest.json"}
    assert RANKING in names
    for name in names:
        (out / name).write_text("of the answers before")
    predict(scans, out, small_model, options=options)
    assert [name for name in names if (out / name).exists() and "before" in (out / name).read_text()] == []


def cancel(event: Progress) -> None:
    raise Cancelled


def test_a_prediction_that_is_stopped_leaves_no_volumes_of_the_answers_before(
    tmp_path: Path, small_model: Path, write_scans: Callable[[Path, int], Path]
) -> None:
    scans, out = write_scans(tmp_path / "scans", 1), tmp_path / "out"
    options = PredictOptions(device="cpu", folds=["0"])
    predict(scans, out, small_model, options=options)
    assert (out / "volumes.csv").exists()
    with pytest.raises(Cancelled):
        predict(scans, out, small_model, options=options, callback=cancel)
    assert not (out / "volumes.csv").exists()


def test_a_validation_that_is_stopped_leaves_no_scores_of_the_weights_before(
    tmp_path: Path, small_model: Path, write_scans: Callable[[Path, int], Path]
) -> None:
    scan = next(write_scans(tmp_path / "scans", 1).iterdir())
    names = {METRICS, METRICS_CSV, POOLED_CSV}
    for name in names:
        (tmp_path / name).write_text("of the weights before")
    with pytest.raises(Cancelled):
        validate_fold(Predictor.load(small_model, "cpu"), [Case("a", "a", (scan,), scan)], tmp_path, cancel)
    assert names.isdisjoint(path.name for path in tmp_path.iterdir())
