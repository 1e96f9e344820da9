"""Runs that are trained further, for a time, or to an early end: their length, also after a stop."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy_runs import FOLD, go, interrupted, weights
from learning.weights import assert_same_weights

from medseg.commands.train import validation_time
from medseg.commands.train.train import Extension
from medseg.core.errors import Cancelled, MedsegError
from medseg.core.files import write_json
from medseg.core.progress import Callback, Progress, silent
from medseg.plans.file import load_plan
from medseg.training.length import budget, pace
from medseg.training.length.budget import ValidationSeconds
from medseg.training.run.log import read_log


@pytest.mark.slow
def test_a_finished_run_is_trained_further(workspace: Path) -> None:
    go(workspace, steps=20)
    old = weights(workspace)
    kept: list[bool] = []

    def look(event: Progress) -> None:
        if event.stage == "train" and event.done == 30:
            kept.append(all(torch.equal(value, old[name]) for name, value in weights(workspace).items()))
            raise Cancelled

    with pytest.raises(Cancelled):
        go(workspace, look, extend=Extension(factor=2))
    assert kept == [True]
    result = go(workspace, resume=True)
    assert result.record.as_json()["steps"] == 40
    assert result.record.as_json()["extended"] == [{"from_step": 20, "to_step": 40, "asked": "2x"}]
    assert result.record.as_json()["repeat_with"].endswith(
        "--steps 20 && medseg train --plan toy --fold 0 --config main --extend 20"
    )
    log = [record for record in read_log(workspace / FOLD / "log.jsonl") if record["kind"] == "train"]
    assert [record["step"] for record in log] == [10, 20, 30, 40]
    assert log[2]["learning_rate"] == pytest.approx(log[0]["learning_rate"])
    assert not all(torch.equal(value, old[name]) for name, value in weights(workspace).items())
    # the same in one go
    first = weights(workspace)
    shutil.rmtree(workspace / "runs")
    go(workspace, steps=20)
    go(workspace, extend=Extension(steps=20))
    assert_same_weights(first, weights(workspace))


@pytest.fixture
def fixed_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 100 s, beside which it is nothing what this machine needs, validations of 10 s; no looks in training."""
    monkeypatch.setattr(budget, "measured_step_seconds", lambda *_: 100.0)
    monkeypatch.setattr(validation_time, "validation_seconds", lambda *_: ValidationSeconds(10.0, 10.0))
    monkeypatch.setattr(pace, "_FEWEST_WATCHED_STEPS", 10**9)


def test_a_budget_reserves_time_for_answers_and_scores_of_every_case(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is timed is done as it is in the final validation; the scores are those of a reference against itself."""
    done: list[Any] = []

    def seconds(call: Callable[[Callback], object], one_stage: bool = True) -> float:
        done.append(call(silent))
        return 10.0

    reserved: list[ValidationSeconds] = []
    measure = validation_time.validation_seconds
    monkeypatch.setattr(validation_time, "_seconds", seconds)
    monkeypatch.setattr(
        validation_time, "validation_seconds", lambda *given: reserved.append(measure(*given)) or reserved[0]
    )
    interrupted(workspace, 10, budget_seconds=60_000)
    _, scores, answer = done
    assert [(case.dice_mean, scores.failed) for case in scores.cases] == [(1.0, {})]
    assert answer.array.ndim == 4
    volumes = (reserved[0].final - validation_time._SAVING_SECONDS) / 20
    assert volumes == pytest.approx(1)  # of the one case that is held out


def test_a_finished_run_is_trained_for_a_while_longer(workspace: Path, fixed_speed: None) -> None:
    go(workspace, steps=5)
    result = go(workspace, extend=Extension(seconds=3000))
    assert 25 <= result.record.as_json()["steps"] <= 5 + 28, "0.96 of 3000 s, less what the start took"
    assert result.record.as_json()["schedule"] == [[0, 5, 0.0, 1.0], [5, result.record.as_json()["steps"], 0.0, 1.0]]


def test_a_budget_that_runs_short_is_kept_with_fewer_steps(workspace: Path, fixed_speed: None) -> None:
    interrupted(workspace, 30, budget_seconds=60_000)
    record = json.loads((workspace / FOLD / "run.json").read_text())
    steps = record["steps"]
    write_json(workspace / FOLD / "run.json", {**record, "budget_seconds": 1.0})  # as if it had been spent already
    result = go(workspace, resume=True)
    assert result.record.as_json()["steps"] == 50 < steps, "at least a few steps to anneal"
    assert result.record.as_json()["schedule"] == [[0, 30, 0.0, 30 / steps], [30, 50, 30 / steps, 1.0]]
    why = "to keep to the budget"
    assert result.record.as_json()["changes"] == [{"step": 30, "key": "steps", "old": steps, "new": 50, "why": why}]
    assert any(f"{why}: 50 steps instead of {steps}" in note for note in result.notes)
    rates = [
        record["learning_rate"] for record in read_log(workspace / FOLD / "log.jsonl") if record["kind"] == "train"
    ]
    assert rates[2] == pytest.approx(0.01 * (1 - 29 / steps) ** 0.9)
    assert rates[4] == pytest.approx(0.01 * ((1 - 30 / steps) / 20) ** 0.9)


@pytest.mark.slow
def test_a_run_that_ends_early_says_so_and_ends_there_also_after_a_kill(workspace: Path) -> None:
    still = ["training.learning_rate=1e-12", "training.patience=1", "training.validations=10"]
    interrupted(workspace, 50, steps=200, overrides=still)
    record = json.loads((workspace / FOLD / "run.json").read_text())
    assert (record["steps"], record["ended_early"], record["repeat_with"]) == (60, True, None)
    assert record["schedule"] == [[0, 40, 0.0, 0.2], [40, 60, 0.2, 1.0]]
    result = go(workspace, resume=True)
    assert (result.record.as_json()["steps"], result.record.as_json()["finished"]) == (60, True)
    assert read_log(workspace / FOLD / "log.jsonl")[-1]["step"] == 60
    longer = go(workspace, extend=Extension(steps=20))
    assert longer.record.ended_early is None, "a new schedule may end early again"


@pytest.mark.slow
def test_an_extension_in_time_that_was_killed_at_its_start_goes_on(workspace: Path, fixed_speed: None) -> None:
    go(workspace, steps=20)

    def kill(event: Progress) -> None:
        if event.stage == "train" and event.total > 20 and "note" not in event.info:
            raise KeyboardInterrupt

    with pytest.raises((MedsegError, KeyboardInterrupt)):
        go(workspace, kill, extend=Extension(seconds=60_000))
    record = json.loads((workspace / FOLD / "run.json").read_text())
    assert record["steps"] > 60
    write_json(workspace / FOLD / "run.json", {**record, "budget_seconds": 1.0})  # so that fewer steps are left
    result = go(workspace, resume=True)
    assert result.record.as_json()["schedule"] == [[0, 20, 0.0, 1.0], [20, 40, 0.0, 1.0]]
    assert result.record.as_json()["extended"] == [{"from_step": 20, "to_step": 40, "asked": "60000s"}]


@pytest.mark.slow
def test_validations_that_a_budget_has_no_time_for_are_told(workspace: Path, fixed_speed: None) -> None:
    often = ["training.validations=1000000", "training.patience=900000"]
    result = go(workspace, budget_seconds=3000, overrides=often)
    assert f"--steps {result.record.steps}" in str(result.record.repeat_with)
    left = load_plan(workspace / FOLD / "plan.yaml").training.validations
    assert left == 1 + 300 / 10, "those between steps may take a tenth of the budget"
    assert any(f"measured {left} times instead of 1000000" in note and "early end" in note for note in result.notes)
    assert "fewer than planned" in (workspace / FOLD / "plan.yaml").read_text()
    assert go(workspace, extend=Extension(steps=1)).record.validations == 1000000
    assert load_plan(workspace / FOLD / "plan.yaml").training.validations == 1000000, "what a short budget left out"
    go(workspace, extend=Extension(steps=1), overrides=["training.validations=7"])
    go(workspace, extend=Extension(steps=1))
    assert load_plan(workspace / FOLD / "plan.yaml").training.validations == 7, "what the user set since then"


def test_a_budget_that_suffices_changes_nothing(workspace: Path, fixed_speed: None) -> None:
    interrupted(workspace, 10, steps=20)
    record = json.loads((workspace / FOLD / "run.json").read_text())
    write_json(workspace / FOLD / "run.json", {**record, "budget_seconds": 600_000.0})
    result = go(workspace, resume=True)
    assert (result.record.as_json()["steps"], result.record.schedule) == (20, None)


@pytest.mark.slow
def test_time_that_was_lost_with_a_kill_counts(workspace: Path) -> None:
    interrupted(workspace, 10, steps=30)
    log = workspace / FOLD / "log.jsonl"
    log.write_text(log.read_text() + '{"kind": "train", "step": 20, "loss": 1.0, "seconds": 5000.0}\n')
    result = go(workspace, resume=True)
    assert result.record.as_json()["seconds"] > 5000
    assert [record["step"] for record in read_log(log) if record["kind"] == "train"] == [10, 20, 30]
