"""A cascade from nothing: the stage before is trained first, answers the training cases, and both are predicted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from learning.weights import assert_same_weights
from ruamel.yaml import YAML
from safetensors.torch import load_file

from medseg.commands.data.options import PlanOptions
from medseg.commands.data.plan import plan
from medseg.commands.models.package import package
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.previous_answers import PreviousStage, answer_samples
from medseg.commands.train.train import Extension, TrainResult, train
from medseg.core.errors import Cancelled, ModelError, PlanError
from medseg.core.files import write_json
from medseg.core.progress import Progress, silent
from medseg.inference.predictor import Predictor
from medseg.io.load import load_case_image
from medseg.models.open import load_model
from medseg.models.run import load_run
from medseg.models.run_files import RunFolder
from medseg.models.workspace import plan_cases
from medseg.plans.file import load_plan
from medseg.preprocessing.cache import load_samples
from medseg.training.length import budget

CPU = torch.device("cpu")
LOW, LATER = "3d_lowres", "3d_cascade_fullres"
STEPS = 4
FOLDS = [{"train": ["a", "b"], "val": ["c", "d"]}, {"train": ["c", "d"], "val": ["a", "b"]}]


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult, list[Progress]]:
    """A workspace with a planned cascade, of which fold 0 is trained from nothing, and what was told meanwhile."""
    workspace = tmp_path_factory.mktemp("cascade")
    rng = np.random.default_rng(0)
    for name in "abcd":
        label = np.zeros((20, 20, 20), np.uint8)
        low = rng.integers(2, 6, 3)
        label[low[0] : low[0] + 9, low[1] : low[1] + 9, low[2] : low[2] + 6] = 1
        label[low[0] : low[0] + 9, low[1] : low[1] + 9, low[2] + 6 : low[2] + 11] = 2
        save(
            workspace / "data" / "images" / f"{name}.nii.gz",
            (label + rng.normal(0, 0.3, label.shape)).astype(np.float32),
        )
        save(workspace / "data" / "labels" / f"{name}.nii.gz", label)
    made = plan(workspace / "data", workspace, "toy", PlanOptions(preset="cpu", cascade=True, overrides=SETTINGS))
    assert made.plan.default_configuration == LATER
    write_json(made.splits_path, FOLDS)
    events: list[Progress] = []
    return workspace, go(workspace, events.append, steps=STEPS), events


SETTINGS = [
    "training.validations=1",
    "training.validation_cases=1",
    "inference.mirror=false",
    "inference.backend=torch",
    "inference.precision=fp32",
    "training.precision=fp32",
    *(f"configurations.{name}.network.features=[4,8]" for name in (LOW, "3d_fullres")),
    *(f"configurations.{name}.network.kernels=[[3,3,3],[3,3,3]]" for name in (LOW, "3d_fullres")),
    *(f"configurations.{name}.network.strides=[[1,1,1],[2,2,2]]" for name in (LOW, "3d_fullres")),
    *(f"configurations.{name}.network.blocks=[1,1]" for name in (LOW, "3d_fullres")),
    *(f"configurations.{name}.network.decoder_convolutions=[1]" for name in (LOW, "3d_fullres")),
    *(f"configurations.{name}.patch_voxels=[16,16,16]" for name in (LOW, "3d_fullres")),
]


def go(workspace: Path, callback: Callable[[Progress], None] = silent, **options: Any) -> TrainResult:
    return train("toy", workspace, TrainOptions(device="cpu", **options), callback)


@pytest.fixture
def workspace(trained: tuple[Path, TrainResult, list[Progress]], tmp_path: Path) -> Path:
    """A copy of the trained workspace."""
    shutil.copytree(trained[0], tmp_path / "workspace")
    return tmp_path / "workspace"


def fold(workspace: Path, configuration: str, number: int = 0) -> Path:
    return workspace / "runs" / "toy" / configuration / f"fold_{number}"


def weights(workspace: Path, configuration: str, number: int = 0) -> dict[str, torch.Tensor]:
    return load_file(fold(workspace, configuration, number) / "weights.safetensors")


def answers(workspace: Path) -> dict[str, Path]:
    return {
        path.stem: path
        for path in (workspace / "runs" / "toy" / LOW).glob(f"fold_*/predicted_next_stage/{LATER}/*.npz")
    }


def test_everything_is_trained_by_one_command(trained: tuple[Path, TrainResult, list[Progress]]) -> None:
    workspace, result, events = trained
    assert result.folder == fold(workspace, LATER)
    assert result.record.as_json()["steps"] == STEPS
    assert not result.failed
    assert result.summary is not None
    notes = [str(event.info["note"]) for event in events if "note" in event.info]
    assert notes[0] == f"stage 1 of 2: {LOW}, fold 0 (1 of 2); {LATER} comes after it"
    assert f"stage 2 of 2: {LATER}, fold 0" in notes
    assert {event.info.get("part") for event in events if event.stage == "train"} == {
        f"{LOW}, fold 0 (1 of 2)",
        f"{LOW}, fold 1 (2 of 2)",
        None,
    }
    assert not (fold(workspace, LATER) / "asked.json").exists()
    network = weights(workspace, LATER)
    assert any(value.ndim == 5 and value.shape[1] == 3 for value in network.values())  # the scan and two labels


def test_each_case_is_answered_by_the_fold_that_has_not_seen_it(
    trained: tuple[Path, TrainResult, list[Progress]],
) -> None:
    """The kept answer is the argmax of the fold's logits, resampled to the grid of the later stage."""
    workspace, _, _ = trained
    kept = answers(workspace)
    assert {name: path.parents[2].name for name, path in kept.items()} == {
        "a": "fold_1",
        "b": "fold_1",
        "c": "fold_0",
        "d": "fold_0",
    }
    assert fold(workspace, LOW, 1) in kept["a"].parents
    model = load_run(fold(workspace, LOW, 1), CPU)
    predictor = Predictor(model, CPU)
    image = load_case_image(samples_of(workspace)["a"].case, 1)
    volume = predictor.prepare(image)
    logits = torch.cat(list(predictor.logits(volume)), 1)
    size = np.load(kept["a"])["label"].shape
    assert size == (20, 20, 20)
    assert logits.shape[1:] != size
    larger = torch.nn.functional.interpolate(logits[None], size, mode="trilinear", align_corners=False)[0]
    clear = larger.topk(2, 0).values.diff(dim=0).abs()[0].numpy() > 1e-4
    np.testing.assert_array_equal(np.load(kept["a"])["label"][clear], larger.argmax(0).numpy()[clear])
    assert clear.mean() > 0.99


def samples_of(workspace: Path) -> dict[str, Any]:
    made = load_plan(fold(workspace, LATER) / "plan.yaml")
    cases = plan_cases(workspace / "plans" / "toy.yaml", workspace / "data", made)
    samples, _ = load_samples(cases, made, made.configuration(LATER), workspace / "cache" / "toy")
    return {sample.case.id: sample for sample in samples}


def before(workspace: Path) -> PreviousStage:
    return PreviousStage(
        RunFolder(workspace / "runs" / "toy" / LOW), {str(number): split for number, split in enumerate(FOLDS)}
    )


def answer(workspace: Path, stage: PreviousStage | None = None) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    samples = list(samples_of(workspace).values())
    made, failed, notes = answer_samples(
        samples, stage or before(workspace), LATER, workspace / "cache" / "toy", CPU, silent
    )
    return {sample.case.id: sample for sample in made}, failed, notes


def test_answers_are_kept_and_made_anew_for_other_weights(workspace: Path) -> None:
    kept = {name: path.read_bytes() for name, path in answers(workspace).items()}
    first, _, notes = answer(workspace)
    assert notes == []
    assert {name: path.read_bytes() for name, path in answers(workspace).items()} == kept
    shutil.rmtree(workspace / "cache")
    again, _, _ = answer(workspace)
    assert {name: path.read_bytes() for name, path in answers(workspace).items()} == kept  # from the run's folder
    assert all(torch.equal(first[name].previous, again[name].previous) for name in "abcd")
    answers(workspace)["b"].write_bytes(b"damaged")
    shutil.rmtree(workspace / "cache")
    assert torch.equal(answer(workspace)[0]["b"].previous, first["b"].previous)
    shutil.copy(fold(workspace, LOW, 0) / "weights.safetensors", fold(workspace, LOW, 1) / "weights.safetensors")
    changed, _, _ = answer(workspace)
    assert {name for name, path in answers(workspace).items() if path.read_bytes() != kept[name]} == {"a", "b"}
    assert not torch.equal(changed["a"].previous, first["a"].previous)


def test_a_case_without_an_answer_is_named_and_left_out(workspace: Path) -> None:
    samples = list(samples_of(workspace).values())
    answers(workspace)["c"].unlink()
    shutil.rmtree(workspace / "cache")
    samples[2].case.channels[0].unlink()
    made, failed, _ = answer_samples(samples, before(workspace), LATER, workspace / "cache" / "toy", CPU, silent)
    assert [sample.case.id for sample in made] == ["a", "b", "d"]
    assert [*failed] == ["c"]
    assert failed["c"].startswith(f"{LOW} has no answer for it, so it is left out: ")


def test_cases_that_no_fold_keeps_apart_are_told(workspace: Path) -> None:
    seen = PreviousStage(RunFolder(workspace / "runs" / "toy" / LOW), {"0": {"train": ["a", "b"], "val": ["c"]}})
    assert seen.fold_of("c") == ("0", True)
    assert seen.fold_of("d") == ("0", True)  # it was not trained on
    assert seen.fold_of("a") == ("0", False)
    made, failed, notes = answer(workspace, seen)
    assert [*made] == ["a", "b", "c", "d"]
    assert not failed
    assert notes[0].startswith(f"no fold of {LOW} keeps 2 cases apart")


@pytest.mark.slow
def test_scores_of_cases_that_the_stage_before_has_seen_are_told(workspace: Path) -> None:
    one = before(workspace)
    assert one.leaks("0", ["c", "d"]) == []
    assert one.leaks("1", ["c", "a"]) == [
        f"fold 1 of {LOW} was trained on 1 of the cases that are kept apart here (c): their scores are better than on "
        "new scans"
    ]
    shutil.rmtree(fold(workspace, LATER))
    write_json(workspace / "plans" / "toy.splits.json", [FOLDS[1], FOLDS[0]])
    result = go(workspace, steps=1)
    assert [note for note in result.notes if note.startswith(f"fold 0 of {LOW} was trained on 2 of the cases")]


def test_both_stages_are_predicted_and_packed(workspace: Path, tmp_path: Path) -> None:
    scan = load_case_image(samples_of(workspace)["a"].case, 1)
    folder = workspace / "runs" / "toy" / LATER
    model = load_model(folder, CPU)
    assert model.previous is not None
    assert (model.folds, model.previous.folds) == (("0",), ("0", "1"))  # all folds of the first stage are averaged
    own = load_model(folder, CPU, ["0"])
    assert own.previous is not None
    assert own.previous.folds == ("0",)
    packed = package("toy/" + LATER, tmp_path / "cascade.medseg", workspace).path
    theirs = Predictor.load(packed, "cpu")(scan)
    np.testing.assert_array_equal(Predictor(model, CPU)(scan).array, theirs.array)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["the stage before", "between answers", "the last stage"])
def test_a_command_that_is_stopped_goes_on(
    trained: tuple[Path, TrainResult, list[Progress]], tmp_path: Path, moment: str
) -> None:
    """Wherever it was stopped, `--resume` ends with the weights of a command that was not."""
    undisturbed, _, _ = trained
    workspace = tmp_path / "workspace"
    for part in ("data", "plans", "cache"):
        shutil.copytree(undisturbed / part, workspace / part)
    for path in (workspace / "cache").rglob("*.previous.*"):
        path.unlink()
    if moment != "the stage before":
        shutil.copytree(undisturbed / "runs" / "toy" / LOW, workspace / "runs" / "toy" / LOW)
        shutil.rmtree(fold(workspace, LOW, 0) / "predicted_next_stage")

    def stop(event: Progress) -> None:
        early = event.stage == "train" and event.info.get("part") == f"{LOW}, fold 1 (2 of 2)" and "loss" in event.info
        between = event.stage == "predict" and event.done >= 1
        late = event.stage == "train" and "part" not in event.info and "loss" in event.info
        if {"the stage before": early, "between answers": between, "the last stage": late}[moment]:
            raise Cancelled

    with pytest.raises(Cancelled):
        go(workspace, stop, steps=STEPS)
    assert not (fold(workspace, LATER) / "weights.safetensors").exists()
    result = go(workspace, resume=True)
    assert result.record.as_json()["steps"] == STEPS
    for configuration, number in ((LOW, 0), (LOW, 1), (LATER, 0)):
        assert_same_weights(weights(workspace, configuration, number), weights(undisturbed, configuration, number))


def test_what_is_set_when_a_command_goes_on_counts_with_what_was_set_before(workspace: Path) -> None:
    shutil.rmtree(fold(workspace, LATER))
    asked = {"steps": 2, "budget_seconds": None, "overrides": ["training.seed=3"], "recipe": None, "init": None}
    write_json(fold(workspace, LATER) / "asked.json", {**asked, "seconds": 1.0})
    result = go(workspace, resume=True, overrides=["training.validations=2"])
    training = load_plan(result.folder / "plan.yaml").training
    assert (result.record.as_json()["steps"], training.seed, training.validations) == (2, 3, 2)


def test_another_fold_takes_what_is_there(workspace: Path) -> None:
    stamps = {number: (fold(workspace, LOW, number) / "weights.safetensors").stat().st_mtime_ns for number in (0, 1)}
    events: list[Progress] = []
    result = go(workspace, events.append, steps=1, fold="all")
    assert result.record.as_json()["fold"] == "all"
    assert all(event.info.get("part") is None for event in events if event.stage == "train")
    assert {n: (fold(workspace, LOW, n) / "weights.safetensors").stat().st_mtime_ns for n in (0, 1)} == stamps
    model = load_model(workspace / "runs" / "toy" / LATER / "fold_all", CPU)
    assert model.previous is not None
    assert model.previous.folds == ("0", "1")


def test_a_budget_is_divided(
    trained: tuple[Path, TrainResult, list[Progress]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it is for the folds of the stage before; the last stage ends within the whole."""
    for part in ("data", "plans", "cache"):
        shutil.copytree(trained[0] / part, tmp_path / part)
    monkeypatch.setattr(budget, "measured_step_seconds", lambda *_: 0.1)  # the least is twenty steps
    with pytest.raises(PlanError, match=r"3d_lowres, fold 0 \(1 of 2\)"):
        go(tmp_path, budget_seconds=2.0)


def test_a_budget_is_refused_where_a_fold_of_the_stage_before_was_begun_without_one(workspace: Path) -> None:
    shutil.rmtree(fold(workspace, LATER))
    record = fold(workspace, LOW, 1) / "run.json"
    write_json(record, {**json.loads(record.read_text()), "finished": False})
    with pytest.raises(PlanError, match=r"fold_1 was begun without a budget") as told:
        go(workspace, budget_seconds=60.0)
    assert f"`{RunFolder(workspace / 'runs' / 'toy' / LOW).fold('1').resume_command}`" in str(told.value)
    assert not (fold(workspace, LATER) / "asked.json").exists(), "nothing was begun"


def set_plan(workspace: Path, change: Callable[[Any], None]) -> None:
    yaml, path = YAML(), workspace / "plans" / "toy.yaml"
    values = yaml.load(path)
    change(values)
    yaml.dump(values, path)


def test_what_does_not_fit_together_is_refused(workspace: Path) -> None:
    shutil.rmtree(fold(workspace, LATER))
    set_plan(workspace, lambda values: values["configurations"][LOW].update(spacing_mm=[2.0, 2.0, 2.0]))
    with pytest.raises(PlanError, match=r"trained with another plan(.|\n)*spacing_mm: (.|\n)*-> \[2.0, 2.0, 2.0\]"):
        go(workspace, steps=1)
    shutil.rmtree(fold(workspace, LOW, 0))
    with pytest.raises(PlanError, match=r"fold_1, of the stage before, was trained with another plan"):
        go(workspace, steps=1)
    assert not fold(workspace, LOW, 0).exists(), "nothing is trained that would not fit"
    set_plan(workspace, lambda values: values["configurations"].pop(LOW))
    with pytest.raises(PlanError, match=r"comes after '3d_lowres'.*which the plan 'toy' does not have") as told:
        go(workspace, steps=1)
    assert "--cascade" in str(told.value)
    set_plan(workspace, lambda values: values["configurations"][LATER].update(previous_stage=LATER))
    with pytest.raises(PlanError, match="circle"):
        go(workspace, steps=1)


def test_a_finished_cascade_whose_first_stage_is_gone(workspace: Path) -> None:
    shutil.rmtree(fold(workspace, LOW, 1))
    with pytest.raises(ModelError, match=r"The folds 1 of the previous stage .*3d_lowres no longer exist"):
        go(workspace, extend=Extension(steps=1))
