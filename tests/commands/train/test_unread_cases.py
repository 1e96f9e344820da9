"""A case that cannot be read ends no run, and the page of the run names it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from learning.toy_runs import FOLD, go, interrupted, stop_at
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.commands.train.train import TrainOptions, train
from medseg.core.errors import Cancelled
from medseg.core.files import write_json
from medseg.models.record import read_record
from medseg.models.run_files import FoldFolder
from medseg.training.length.extension import parse_extension


def test_cases_that_cannot_be_read_are_named_in_scores_and_report(workspace: Path) -> None:
    write_json(workspace / "plans" / "toy.splits.json", [{"train": ["0", "1"], "val": ["2", "3"]}])
    for case in ("1", "3"):
        (workspace / "data" / f"{case}_image.nii.gz").write_bytes(b"damaged")
    result = train("toy", workspace, TrainOptions(steps=2, device="cpu"))
    assert result.failed.keys() == {"1", "3"}
    fold = workspace / "runs" / "toy" / "main" / "fold_0"
    failed = json.loads((fold / "validation" / "metrics.json").read_text())["failed"]
    assert failed.keys() == {"3"}
    report = (fold / "report.html").read_text()
    assert "not trained on 1: " in report
    assert "3_image.nii.gz" in report
    assert any("2 cases cannot be read, and left out: 1: " in note for note in result.notes)


def test_what_one_session_could_not_read_is_known_after_the_next(workspace: Path) -> None:
    write_json(workspace / "plans" / "toy.splits.json", [{"train": ["0", "1"], "val": ["2", "3"]}])
    whole = {case: (workspace / "data" / f"{case}_image.nii.gz").read_bytes() for case in ("1", "3")}
    for case in whole:
        (workspace / "data" / f"{case}_image.nii.gz").write_bytes(b"damaged")
    interrupted(workspace, 10, steps=15)
    record = read_record(FoldFolder(workspace / FOLD))
    assert record is not None
    assert record.failed is not None
    assert record.failed.keys() == {"1", "3"}
    for case, content in whole.items():
        (workspace / "data" / f"{case}_image.nii.gz").write_bytes(content)
    result = go(workspace, resume=True)
    assert "2 cases could not be read when the run began: from here on it uses 1, 3" in result.notes
    assert result.failed == {}
    assert result.record.failed is not None
    assert result.record.failed.keys() == {"1"}
    assert re.search(r"\(until step \d+\)$", result.record.failed["1"])
    again = go(workspace, extend=parse_extension("2x"))
    assert again.record.failed == result.record.failed
    assert not any("could not be read" in note or "changed since" in note for note in again.notes)


def test_cases_that_change_between_two_sessions_are_named(workspace: Path) -> None:
    interrupted(workspace, 10, steps=15)
    (workspace / "data" / "0_image.nii.gz").write_bytes((workspace / "data" / "1_image.nii.gz").read_bytes())
    table = workspace / "plans" / "toy.cases.csv"
    head, *rows = table.read_text().splitlines()
    column = head.split(",").index("weight")
    fields = [row.split(",") for row in rows]
    fields[2][column] = "2"
    table.write_text("\n".join([head, *(",".join(row) for row in fields)]) + "\n")
    notes = go(workspace, resume=True).notes
    [note] = [note for note in notes if "changed since the run began" in note]
    assert note.startswith("2 cases changed since")
    assert note.endswith("goes on with 0, 2")
    assert not any("changed since the run" in note for note in go(workspace, extend=parse_extension("2x")).notes)


def test_a_plan_and_data_that_lie_elsewhere_are_in_the_commands_of_the_run(workspace: Path) -> None:
    (workspace / "data").rename(workspace / "moved")
    (workspace / "own").mkdir()
    for path in (workspace / "plans").iterdir():
        path.rename(workspace / "own" / path.name)
    plan, options = workspace / "own" / "toy.yaml", TrainOptions(steps=15, device="cpu", data=workspace / "moved")
    with pytest.raises(Cancelled):
        train(plan, workspace, options, stop_at(10))
    words = shlex.split(FoldFolder(workspace / FOLD).resume_command)
    assert words[words.index("--plan") + 1] == str(plan)
    assert words[words.index("--data") + 1] == str(workspace / "moved")
    done = CliRunner().invoke(app, [*words[1:], "--device", "cpu"])
    assert done.exit_code == 0, done.output
    record = read_record(FoldFolder(workspace / FOLD))
    assert record is not None
    assert record.repeat_with is not None
    assert {str(plan), str(workspace / "moved")} <= {*shlex.split(record.repeat_with)}
    plan.unlink()  # then the run's own copy is named
    words = shlex.split(FoldFolder(workspace / FOLD).resume_command)
    assert words[words.index("--plan") + 1] == str(workspace / FOLD / "plan.yaml")
