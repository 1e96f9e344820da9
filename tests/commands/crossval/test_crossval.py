"""Cross-validation in one command: what is trained, what goes on, and what the scores are made of."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_workspace import write_toy_workspace

from medseg.commands.crossval.crossval import CrossvalResult, crossval
from medseg.commands.crossval.options import CrossvalOptions
from medseg.commands.crossval.out_of_fold import _unlike_folds
from medseg.commands.records.verify import verify
from medseg.commands.train.options import TrainOptions
from medseg.core.errors import Cancelled, DataError, ModelError, PlanError, Stopped
from medseg.core.files import write_json
from medseg.core.progress import Progress, silent
from medseg.models.run_files import FoldFolder
from medseg.models.workspace import splits_path
from medseg.plans.file import load_plan, save_plan

RUN = Path("runs") / "toy" / "main"
FOLDS = [{"train": ["0", "1"], "val": ["2", "3"]}, {"train": ["2", "3"], "val": ["0", "1"]}]


def write_workspace(workspace: Path) -> Path:
    """Four scans and the plan `toy` with two folds."""
    write_toy_workspace(workspace)
    write_json(splits_path(workspace / "plans" / "toy.yaml"), FOLDS)
    return workspace


def scores(workspace: Path) -> list[tuple[str, str, str]]:
    return [(row["case"], row["structure"], row["dice"]) for row in rows(workspace / RUN / "crossval" / "metrics.csv")]


def go(workspace: Path, callback: Callable[[Progress], None] = silent, **options: Any) -> CrossvalResult:
    own = {name: options.pop(name) for name in ("folds", "configurations", "budget_seconds") if name in options}
    training = TrainOptions(device="cpu", **({"steps": 2} if "budget_seconds" not in own else {}) | options)
    return crossval(None, workspace, CrossvalOptions(**own, training=training), callback)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which both folds are trained and scored."""
    workspace = write_workspace(tmp_path_factory.mktemp("done"))
    go(workspace)
    return workspace


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_are_those_of_every_case_by_the_fold_that_did_not_see_it(done: Path) -> None:
    together = {(row["case"], row["structure"]): row["dice"] for row in rows(done / RUN / "crossval" / "metrics.csv")}
    by_fold = {
        (row["case"], row["structure"]): row["dice"]
        for number in (0, 1)
        for row in rows(done / RUN / f"fold_{number}" / "validation" / "metrics.csv")
    }
    assert together == by_fold
    assert {case for case, _ in together} == {"0", "1", "2", "3"}
    tables = json.loads((done / RUN / "crossval" / "metrics.json").read_text())
    assert {*tables["subgroups"]["fold"]} == {"0", "1"}
    assert tables["structures"]["one"]["measures"]["dice"]["n"] == 4
    assert "Cross-validation" in (done / RUN / "crossval" / "report.html").read_text()
    assert verify(done / RUN / "crossval").changes == []


def test_a_second_call_trains_nothing_and_gives_the_same_scores(copy: Path) -> None:
    before = scores(copy)
    result = go(copy)
    assert [fold.result is not None and fold.result.trained for fold in result.folds] == [False, False]
    assert scores(copy) == before
    assert not result.failed


def test_what_is_asked_of_begun_folds_in_vain_is_noted(copy: Path) -> None:
    notes: list[str] = []

    def note(event: Progress) -> None:
        notes.extend([event.info["note"]] if "note" in event.info else [])

    go(copy, note)
    assert not notes
    (copy / RUN / "fold_1" / "run.json").write_text("{")  # its own outcome says so
    result = go(copy, note, steps=3, overrides=["training.learning_rate=0.001"], init="other/model")
    assert list(result.failed) == ["main, fold 1"]
    [text] = notes
    assert text.startswith(f"{copy / RUN / 'fold_0'} goes on as it was begun: it has 2 steps, not 3; ")
    assert "it started from random weights, not from other/model" in text
    assert "training.learning_rate is 0.01 in the run, 0.001 as asked now" in text
    del notes[:]
    go(copy, note, steps=None, epochs=3)
    assert "it has 2 steps, which --epochs 3 does not change" in notes[0]


def test_a_stopped_one_goes_on_and_ends_as_one_that_was_not_stopped(done: Path, tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)

    def stop(event: Progress) -> None:
        if event.info.get("part") == "fold 1" and event.stage == "train" and event.done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        go(workspace, stop)
    assert not (workspace / RUN / "crossval").exists()
    go(workspace)
    for fold in (0, 1):
        weights = Path(f"fold_{fold}") / "weights.safetensors"
        assert (workspace / RUN / weights).read_bytes() == (done / RUN / weights).read_bytes()
    assert scores(workspace) == scores(done)


def test_ctrl_c_names_the_fold_and_leads_to_the_whole_cross_validation(tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        if event.stage == "train" and event.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match=r"^main, fold 0: Stopped after step 1") as caught:
        go(write_workspace(tmp_path), stop)
    assert "The same command goes on" in str(caught.value.hint)


def test_a_fold_that_fails_is_named_and_the_others_are_scored(copy: Path) -> None:
    (copy / RUN / "fold_1" / "run.json").write_text("{")
    result = go(copy)
    assert [*result.failed] == ["main, fold 1"]
    assert "run.json is damaged" in result.failed["main, fold 1"]
    assert {case.case for case in result.scores["main"].evaluation.summary.cases} == {"2", "3"}


def test_nothing_trained_is_an_error_that_says_why(copy: Path) -> None:
    for fold in (0, 1):
        (copy / RUN / f"fold_{fold}" / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"main, fold 0: .*damaged"):
        go(copy)


def test_an_answer_that_is_gone_is_named(copy: Path) -> None:
    (copy / RUN / "fold_0" / "validation" / "2.nii.gz").unlink()
    failed = go(copy).failed
    assert [*failed] == ["main, 2"]
    assert "fold 0 has no answer to it" in failed["main, 2"]


def test_folds_of_other_settings_or_lengths_are_noted(copy: Path) -> None:
    shutil.rmtree(copy / RUN / "fold_1")
    [note] = go(copy, steps=3, overrides=["training.learning_rate=0.001"]).scores["main"].notes
    assert note.startswith("fold 1 was trained unlike fold 0: ")
    assert "training.learning_rate 0.001, not 0.01" in note
    assert "3 steps, not 2" in note


def test_folds_of_one_other_length_share_a_note_that_names_both_lengths(tmp_path: Path) -> None:
    plan = load_plan(write_workspace(tmp_path) / "plans" / "toy.yaml")
    folders = [FoldFolder(tmp_path / f"fold_{fold}") for fold in range(3)]
    for folder, length in zip(
        folders, ({"budget_seconds": 60.0, "steps": 33}, {"steps": 20}, {"steps": 20}), strict=True
    ):
        folder.path.mkdir()
        write_json(folder.record, length)
    assert _unlike_folds(folders, {folder.fold: plan for folder in folders}, "main") == [
        "folds 1, 2 were trained unlike fold 0: 20 steps without a budget, not a budget of 60 s"
    ]


def test_folds_with_other_structures_are_not_scored_together(copy: Path) -> None:
    path = copy / RUN / "fold_1" / "plan.yaml"
    plan = load_plan(path)
    names = dict(zip(["x", "y"], plan.labels.structures.values(), strict=True))
    save_plan(plan.model_copy(update={"labels": plan.labels.model_copy(update={"structures": names})}), path)
    with pytest.raises(ModelError, match="Fold 1 was trained on x, y, and fold 0 on one, two"):
        go(copy)


def test_a_case_that_no_fold_kept_apart_any_more_is_named(copy: Path) -> None:
    """Fold 0 was trained before the folds of the plan were changed."""
    other = [{"train": ["0", "3"], "val": ["1", "2"]}, {"train": ["1", "2"], "val": ["0", "3"]}]
    shutil.rmtree(copy / RUN / "fold_1")
    write_json(splits_path(copy / "plans" / "toy.yaml"), other)  # fold 0 kept 2 and 3
    failed = go(copy).scores["main"].evaluation.failed
    assert list(failed) == ["1"]
    assert "fold 0 was trained by other folds than the plan has now" in failed["1"]


def test_a_fold_that_has_lost_its_split_costs_its_own_cases_alone(copy: Path) -> None:
    (copy / RUN / "fold_0" / "split.json").unlink()
    evaluation = go(copy).scores["main"].evaluation
    assert sorted(evaluation.failed) == ["2", "3"]
    assert "fold_0 has no split.json" in evaluation.failed["2"]
    assert {case.case for case in evaluation.summary.cases} == {"0", "1"}


def test_a_case_in_two_validations_counts_once(tmp_path: Path) -> None:
    workspace = write_workspace(tmp_path)
    folds = [{"train": ["0", "1"], "val": ["2", "3"]}, {"train": ["2"], "val": ["0", "1", "3"]}]
    write_json(splits_path(workspace / "plans" / "toy.yaml"), folds)
    score = go(workspace).scores["main"]
    assert len(score.evaluation.summary.cases) == 4
    assert "answer of the first counts: 3" in score.notes[0]


def test_a_budget_is_shared_by_all_folds_that_are_meant(copy: Path) -> None:
    shutil.rmtree(copy / RUN / "fold_1")
    failed = go(copy, budget_seconds=0.02).failed  # too short to train
    assert "a fold's share is 0.01 s now" in failed["main, fold 1"]


def test_a_budget_is_refused_where_a_fold_was_begun_without_one(copy: Path) -> None:
    record = copy / RUN / "fold_1" / "run.json"
    write_json(record, {**json.loads(record.read_text()), "finished": False})
    with pytest.raises(PlanError, match=r"fold_1 was begun without a budget and is not finished") as told:
        go(copy, budget_seconds=60.0)
    assert f"`{FoldFolder(copy / RUN / 'fold_1').resume_command}`" in str(told.value)


def test_requests_that_cannot_be_met_are_refused(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match="no configuration '2d'; it has main"):
        go(done, configurations=("2d",))
    with pytest.raises(PlanError, match="no fold '7'; there are 0 to 1"):
        go(done, folds=("7",))
    with pytest.raises(PlanError, match="--steps and --budget"):
        go(done, budget_seconds=60.0, steps=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PlanError, match="one of 2 processes"):
        go(done)


def test_the_command_prints_scores_folds_and_worst_cases(copy: Path, command_line: Callable[..., Any]) -> None:
    shown = command_line("crossval", "--workspace", copy, "--steps", 2, "--device", "cpu")
    assert shown.returncode == 0, shown.stderr
    for words in ("main, out of fold", "quartiles", "worst cases:", "look at:"):
        assert words in shown.stdout
    (copy / RUN / "fold_1" / "run.json").write_text("{")
    shown = command_line("crossval", "--workspace", copy, "--steps", 2, "--device", "cpu")
    assert shown.returncode == 1
    assert "main, fold 1" in shown.stdout
