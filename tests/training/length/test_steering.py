"""Runs that end at another step than planned: their time runs out, or their Dice stands still."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from learning.small_runs import RECIPES, blob_samples, new_network, no_validation, plan_of, setup_of
from learning.weights import assert_same_weights

from medseg.core.errors import MedsegError
from medseg.core.progress import Progress, silent
from medseg.models.record import ChangeRecord
from medseg.training.length import pace as pace_module
from medseg.training.length.course import Course
from medseg.training.length.pace import Pace
from medseg.training.length.steering import early_end, steps_change
from medseg.training.run.fit import fit
from medseg.training.run.log import read_log
from medseg.training.run.setup import Setup


def in_time(setup: Setup, pace: Pace) -> Setup:
    return replace(setup, course=replace(setup.course, pace=pace))


def test_a_run_whose_time_is_up_comes_to_its_end_and_goes_on_there_after_a_kill(tmp_path: Path) -> None:
    plan, samples = plan_of(2, **RECIPES["adamw"]), blob_samples((2, 32, 32))
    told: list[tuple[Setup, ChangeRecord]] = []

    def start(folder: Path, **more: Any) -> Setup:
        setup = in_time(setup_of(plan, folder, 200), Pace(1.0, until_seconds=0.0))
        return replace(setup, announce=lambda *change: told.append(change), **more)

    events: list[Progress] = []
    best = fit(new_network(plan), samples, start(tmp_path / "whole"), no_validation, events.append)
    assert told[0][1] == steps_change(20, 200, 40, "to keep to the budget")
    assert [record["step"] for record in read_log(tmp_path / "whole" / "log.jsonl")] == [10, 20, 30, 40]
    assert "40 steps instead of 200; from step 20 on" in str([event.info.get("note") for event in events])
    last = read_log(tmp_path / "whole" / "log.jsonl")[-1]["learning_rate"]
    assert last == pytest.approx(told[0][0].learning_rate(39))
    assert last < 0.01 * 0.02

    def kill(event: Progress) -> None:
        if event.done == 30:
            raise KeyboardInterrupt

    with pytest.raises(MedsegError, match="Stopped after step 30; 10 of 40 steps are left"):
        fit(new_network(plan), samples, start(tmp_path / "parts"), no_validation, kill)
    changed = told[-1][0]
    resumed = replace(changed, course=replace(changed.course, pace=None))
    again = fit(new_network(plan), samples, resumed, no_validation, silent, resume=True)
    assert_same_weights(again.state_dict(), best.state_dict())


@pytest.mark.parametrize("validations", [1, 50])
def test_a_run_that_is_quicker_than_measured_is_given_more_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validations: int
) -> None:
    monkeypatch.setattr(pace_module, "_LEAST_WATCHED_SHARE", 0.0)  # so that the test takes no time
    plan = plan_of(2, validations=validations)
    told: list[ChangeRecord] = []
    pace = Pace(1e6, until_seconds=2e8)

    def enough(event: Progress) -> None:
        if told:
            raise KeyboardInterrupt

    setup = in_time(setup_of(plan, tmp_path, 200), pace)
    setup = replace(setup, announce=lambda new, change: told.append(change))
    with pytest.raises(MedsegError, match="Stopped after step 20;"):
        fit(new_network(plan), blob_samples((2, 32, 32)), setup, no_validation, enough)
    assert told[0].new > 10_000


def test_a_run_whose_time_is_up_is_not_validated_on_the_way(tmp_path: Path) -> None:
    plan = plan_of(2, validations=10)
    setup = in_time(setup_of(plan, tmp_path, 100), Pace(1.0, until_seconds=0.0))
    fit(new_network(plan), blob_samples((2, 32, 32)), setup, no_validation, silent)
    log = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in log if record["kind"] == "train"] == [10, 20, 30, 40]
    assert not [record for record in log if record["kind"] == "validation"]


def test_a_run_whose_scores_stand_still_ends_with_a_quarter_more_steps(tmp_path: Path) -> None:
    plan, samples = plan_of(2, patience=2, validations=10), blob_samples((2, 32, 32))
    told: list[tuple[Setup, ChangeRecord]] = []
    setup = replace(setup_of(plan, tmp_path, 400), announce=lambda *change: told.append(change))
    scores = iter([0.5, 0.6, 0.6005, 0.55, *[0.6] * 9])
    fit(new_network(plan), samples, setup, lambda network: {"one": next(scores)}, silent)
    assert [change for _, change in told] == [steps_change(160, 400, 200, "no better Dice in 2 validations")]
    assert told[0][0].course.ended_early
    log = read_log(tmp_path / "log.jsonl")
    assert log[-1]["step"] == 200
    assert log[-1]["learning_rate"] < log[15]["learning_rate"] / 10


def test_scores_of_before_an_extension_say_nothing(tmp_path: Path) -> None:
    plan, samples = plan_of(2, patience=1, validations=4), blob_samples((2, 32, 32))
    fit(new_network(plan), samples, setup_of(plan, tmp_path, 8), lambda network: {"one": 0.5}, silent)
    longer = replace(setup_of(plan, tmp_path, 8), course=Course.over(8).extended(40))
    scores = iter([0.4, 0.45, 0.5])
    fit(new_network(plan), samples, longer, lambda network: {"one": next(scores)}, silent, resume=True)
    assert next(scores, None) is None, "all three validations took place"


@pytest.mark.parametrize(
    ("scores", "patience", "end"),
    [
        ([0.5, 0.6, 0.6, 0.6], 2, 500),  # 400 steps done, a quarter more
        ([0.5, 0.6, 0.55, 0.6009], 2, 500),  # by less than 0.001 is not better
        ([0.5, 0.6, 0.55, 0.61], 2, 1000),
        ([0.6, 0.6], 2, 1000),  # nothing to compare with
        ([0.6, 0.5, 0.5, 0.5, 0.5], 0, 1000),
        ([], 2, 1000),
    ],
)
def test_scores_that_stand_still(scores: list[float], patience: int, end: int) -> None:
    assert early_end(scores, patience, done=400, steps=1000) == end


def test_an_early_end_is_never_a_later_one_and_counts_from_the_schedules_start() -> None:
    assert early_end([0.6, 0.6], 1, done=990, steps=1000) == 1000
    assert early_end([0.6, 0.6], 1, done=600, steps=1000, start=200) == 700
    assert early_end([0.6, 0.6], 1, done=8, steps=1000) == 28
