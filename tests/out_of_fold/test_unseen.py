"""A fold answers a case out of fold if neither it nor the fold of a stage before it was trained on the case."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import configuration_values, plan_values

from medseg.core.case import Case
from medseg.core.errors import ModelError
from medseg.core.files import write_json
from medseg.models.run_files import FoldFolder, RunFolder
from medseg.out_of_fold.one_pass import OutOfFoldPass
from medseg.out_of_fold.unseen import unseen_cases
from medseg.plans.file import save_plan, validate_plan
from medseg.plans.schema import Plan

LOW, LATER = "low", "later"
AB, CD = ["a", "b"], ["c", "d"]


@pytest.fixture
def plan() -> Plan:
    configurations = {LOW: configuration_values(), LATER: configuration_values(previous_stage=LOW)}
    return validate_plan(plan_values(configurations=configurations, default_configuration=LATER), {}, "a test's plan")


def write_fold(runs: Path, name: str, fold: str, plan: Plan, train: list[str] | None, val: list[str]) -> FoldFolder:
    """Write what is looked at of a trained fold; without a split where `train` is None."""
    files = RunFolder(runs / name).fold(fold)
    save_plan(plan, files.plan)
    files.weights.touch()
    if train is not None:
        write_json(files.split, {"train": train, "val": val})
    return files


def later_folds(runs: Path, plan: Plan) -> list[FoldFolder]:
    return [write_fold(runs, LATER, "0", plan, AB, CD), write_fold(runs, LATER, "1", plan, CD, AB)]


def test_stages_of_one_split_answer_each_case(tmp_path: Path, plan: Plan) -> None:
    write_fold(tmp_path, LOW, "0", plan, AB, CD)
    write_fold(tmp_path, LOW, "1", plan, CD, AB)
    unseen = unseen_cases(later_folds(tmp_path, plan))
    assert unseen.fold_of == {"c": "0", "d": "0", "a": "1", "b": "1"}
    assert not unseen.seen


def test_what_a_stage_before_was_trained_on_is_named(tmp_path: Path, plan: Plan) -> None:
    write_fold(tmp_path, LOW, "0", plan, ["a", "c"], ["b", "d"])
    write_fold(tmp_path, LOW, "1", plan, CD, AB)
    folds = later_folds(tmp_path, plan)
    unseen = unseen_cases(folds)
    assert unseen.fold_of == {"d": "0", "a": "1", "b": "1"}
    assert "fold 0 of low, which answers before fold 0 of later, was trained on it" in unseen.seen["c"]
    cases = [Case(id, id, (tmp_path / f"{id}.nii.gz",), tmp_path / f"{id}_label.nii.gz") for id in "abcd"]
    made = OutOfFoldPass.of(plan, {LATER: folds}, cases, torch.device("cpu"))
    assert {fold: [case.id for case in cases] for (fold,), cases in made.groups.items()} == {"0": ["d"], "1": AB}
    assert [*made.problems] == ["c"]
    with pytest.raises(ModelError, match="fold 0 of low, which answers before fold 0 of later, was trained on it"):
        OutOfFoldPass.of(plan, {LATER: folds}, cases[2:3], torch.device("cpu"))


def test_another_fold_that_has_not_seen_it_answers(tmp_path: Path, plan: Plan) -> None:
    write_fold(tmp_path, LOW, "0", plan, ["a", "c"], ["b", "d"])
    write_fold(tmp_path, LOW, "1", plan, ["a"], ["c"])
    folds = [write_fold(tmp_path, LATER, "0", plan, AB, CD), write_fold(tmp_path, LATER, "1", plan, ["a"], ["c"])]
    unseen = unseen_cases(folds)
    assert unseen.fold_of == {"c": "1", "d": "0"}
    assert not unseen.seen


def test_a_stage_that_does_not_say_what_it_was_trained_on_is_not_trusted(tmp_path: Path, plan: Plan) -> None:
    write_fold(tmp_path, LOW, "0", plan, None, [])
    unseen = unseen_cases([write_fold(tmp_path, LATER, "0", plan, AB, CD)])
    assert not unseen.fold_of
    assert "does not say on which cases it was trained" in unseen.seen["d"]


def test_a_single_stage_is_asked_for_its_own_split_alone(tmp_path: Path, plan: Plan) -> None:
    assert unseen_cases([write_fold(tmp_path, LOW, "0", plan, AB, CD)]).fold_of == {"c": "0", "d": "0"}
    assert not unseen_cases([write_fold(tmp_path, LOW, "1", plan, None, [])]).fold_of
