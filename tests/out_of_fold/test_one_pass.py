"""Each case is answered once, by folds that were not trained on it, with probabilities on its own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from trained.two_configurations import NAMES, SHAPE, write_made_up

from medseg.core.case import Case
from medseg.core.errors import ModelError
from medseg.core.progress import Progress
from medseg.inference.predictor import Predictor
from medseg.models.run_files import RunFolder
from medseg.models.workspace import cases_path, plan_cases
from medseg.out_of_fold import one_pass
from medseg.out_of_fold.one_pass import OutOfFoldPass
from medseg.plans.file import load_plan

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    write_made_up(folder)
    return folder


def a_pass(workspace: Path, folds: tuple[str, ...] = ("0", "1"), more: list[Case] | None = None) -> OutOfFoldPass:
    path = workspace / "plans" / "toy.yaml"
    plan = load_plan(path)
    runs = {name: [RunFolder(workspace / "runs" / "toy" / name).fold(fold) for fold in folds] for name in NAMES}
    cases = plan_cases(path, workspace / "data", plan)
    return OutOfFoldPass.of(plan, runs, [*cases, *(more or [])], CPU, lambda event: None)


def test_every_case_once_by_the_fold_that_left_it_out(workspace: Path) -> None:
    seen = [(case.case.id, case.fold, [*case.answers]) for case in a_pass(workspace)]
    assert sorted(seen) == [(id, fold, [*NAMES]) for id, fold in (("0", "1"), ("1", "1"), ("2", "0"), ("3", "0"))]


@pytest.mark.parametrize("share", [0.25, 0.0], ids=["in memory", "in a file"])
def test_probabilities_are_those_that_the_fold_answers_by(
    share: float, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_pass, "_SHARE_OF_MEMORY", share)
    for case in a_pass(workspace):
        assert case.label.shape == SHAPE[::-1]
        stored = np.asarray(nib.load(case.case.label).dataobj).transpose()
        assert np.array_equal(case.label, stored)
        for name, answer in case.answers.items():
            assert isinstance(answer.probabilities.base, np.memmap) == (share == 0)
            assert answer.probabilities.shape == (3, *case.label.shape)
            assert np.allclose(answer.probabilities.sum(0), 1, atol=1e-5)
            assert (answer.probabilities[0, :, :, :2] == 1).all()  # beyond the scan's content
            with pytest.raises(ValueError, match="read-only"):
                answer.probabilities[0] = 0
            alone = Predictor.load(workspace / "runs" / "toy" / name, "cpu", [answer.fold])
            assert np.mean(alone(case.image).array[0] != case.labels([name])) < 1e-3  # but for ties within rounding
        together = sum(answer.probabilities for answer in case.answers.values())
        assert np.array_equal(case.labels(NAMES), together.argmax(0))
        break


def test_what_cannot_be_answered_is_named(workspace: Path, tmp_path: Path) -> None:
    gone = Case("2", "2", (tmp_path / "gone.nii.gz",), tmp_path / "gone_label.nii.gz")
    made = a_pass(workspace)
    made.groups = {folds: [gone if case.id == "2" else case for case in cases] for folds, cases in made.groups.items()}
    assert sorted(case.case.id for case in made) == ["0", "1", "3"]
    assert "gone" in made.problems["2"]


def test_only_some_folds(workspace: Path) -> None:
    assert sorted(case.case.id for case in a_pass(workspace, ("0",))) == ["2", "3"]


def test_without_such_cases_it_says_what_to_do(workspace: Path) -> None:
    path = workspace / "plans" / "toy.yaml"
    run = RunFolder(workspace / "runs" / "toy" / "2d")
    with pytest.raises(ModelError, match="No labelled case") as error:
        OutOfFoldPass.of(load_plan(path), {"2d": [run.fold("7")]}, plan_cases(path, workspace, load_plan(path)), CPU)
    assert "medseg crossval" in str(error.value.hint)
    assert cases_path(path).exists()


def test_progress_counts_cases(workspace: Path) -> None:
    events: list[Progress] = []
    made = a_pass(workspace)
    made.callback = events.append
    assert len([*made]) == 4
    assert [(event.done, event.total) for event in events] == [(number, 4) for number in range(5)]
