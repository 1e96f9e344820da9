"""nnU-Net's models become runs, its plans become plans to train with."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_image
from nnunet_folders import TRAINER, configuration, dataset, ours, plans, write_model
from scipy import ndimage

from medseg.commands.models import import_nnunet as module
from medseg.commands.models.import_nnunet import import_nnunet
from medseg.commands.models.options import ImportOptions
from medseg.commands.train.options import TrainOptions
from medseg.commands.train.train import train
from medseg.core import files as core_files
from medseg.core.errors import DataError, ModelError, PlanError
from medseg.inference.predictor import Predictor
from medseg.models.open import load_model
from medseg.models.record import read_record
from medseg.models.run import save_weights
from medseg.models.run_files import FoldFolder
from medseg.models.workspace import Workspace
from medseg.plans.file import load_plan

CPU = torch.device("cpu")
SEVERAL = plans(
    {
        "2d": configuration(2),
        "3d_lowres": configuration(spacing=[2.0, 2.0, 2.0]),
        "3d_fullres": configuration(),
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
)


def record_of(fold: Path) -> dict[str, Any]:
    record = read_record(FoldFolder(fold))
    assert record is not None
    return record.as_json()


def image_of(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 10, (18, 16, 20)).astype(np.float32)


def test_a_model_becomes_a_run_that_answers_alike(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", folds=("0", "1", "all"), inference_allowed_mirroring_axes=(0, 2))
    result = import_nnunet(folder, tmp_path, ImportOptions(name="toy"))
    run = tmp_path / "runs" / "toy" / "3d_fullres"
    assert result.folds == [run / "fold_0", run / "fold_1", run / "fold_all"]
    assert (result.failed, result.notes, result.plan) == ({}, [], None)
    assert load_model(run, CPU).folds == load_model(folder, CPU).folds == ("0", "1"), "fold_all only if it is named"
    assert load_model(run, CPU, ["all"]).folds == ("all",)
    model = load_model(run, CPU, ["0", "1"])
    assert (model.plan.name, model.plan.orientation, model.configuration.mirror_axes) == ("toy", "stored", [0, 2])
    settings = ["inference.precision=fp32"]
    answers = [
        Predictor(load_model(place, CPU, ["0", "1"], settings), CPU)(make_image(image_of())) for place in (folder, run)
    ]
    np.testing.assert_array_equal(answers[0].array, answers[1].array)
    assert Workspace(tmp_path).model_path("toy") == run


def test_a_fold_that_is_named_is_imported_alone_and_one_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", folds=("0", "1"))
    (folder / "fold_2").mkdir()
    assert [path.name for path in import_nnunet(folder / "fold_1", tmp_path / "one").folds] == ["fold_1"]
    result = import_nnunet(folder, tmp_path / "all")
    assert [path.name for path in result.folds] == ["fold_0", "fold_1"]
    assert result.notes == [f"{folder.name}: no checkpoint in fold_2, left out: was the model copied whole?"]


def test_a_cascade_does_not_answer_with_the_first_stage_of_another_trainer(tmp_path: Path) -> None:
    low, later = f"{TRAINER}__3d_lowres", f"{TRAINER}__3d_cascade_fullres"
    for name in ("3d_lowres", "3d_cascade_fullres"):
        write_model(tmp_path / "results", name, SEVERAL)
    alone = import_nnunet(tmp_path / "results" / later, tmp_path / "alone")
    assert [note.partition(": ")[2] for note in alone.notes] == [f"it predicts once its first stage is there, {low}"]
    other = tmp_path / "other" / low.replace("nnUNetTrainer", "nnUNetTrainerAdam")
    shutil.copytree(tmp_path / "results" / low, other)
    import_nnunet(other, tmp_path)
    with pytest.raises(ModelError, match=rf"second stage of a cascade after {low}; \S+3d_lowres holds {other.name}"):
        import_nnunet(tmp_path / "results" / later, tmp_path)
    (plan,) = (tmp_path / "runs").iterdir()
    assert [run.name for run in plan.iterdir()] == ["3d_lowres"], "nothing is left that would answer"


def test_models_of_one_name_are_told_apart_where_they_are_left_out(tmp_path: Path) -> None:
    for data_set in ("Dataset001_A", "Dataset002_B"):
        folder = write_model(tmp_path / "results" / data_set, plan=plans(dataset_name=data_set))
        (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    write_model(tmp_path / "results" / "Dataset003_C", plan=plans(dataset_name="Dataset003_C"))
    result = import_nnunet(tmp_path / "results", tmp_path)
    assert list(result.failed) == [f"{name}/{TRAINER}__3d_fullres" for name in ("Dataset001_A", "Dataset002_B")]


def test_one_name_for_several_data_sets_is_refused(tmp_path: Path) -> None:
    for data_set in ("Dataset001_A", "Dataset002_B"):
        write_model(tmp_path / "results" / data_set, plan=plans(dataset_name=data_set))
    with pytest.raises(PlanError, match=r"--name x is one name.* of 2 data sets: Dataset001_A, Dataset002_B"):
        import_nnunet(tmp_path / "results", tmp_path, ImportOptions(name="x"))
    assert not (tmp_path / "runs").exists()
    assert len(import_nnunet(tmp_path / "results", tmp_path).folds) == 2


def test_options_that_would_have_no_effect_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results")
    with pytest.raises(PlanError, match=r"--data and --dataset-json belong to a plans\.json"):
        import_nnunet(folder, tmp_path, ImportOptions(data=tmp_path, dataset_json=folder / "dataset.json"))
    with pytest.raises(PlanError, match=r"--checkpoint belongs to trained models"):
        import_nnunet(write_plans(tmp_path / "preprocessed"), tmp_path, ImportOptions(checkpoint="best"))
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "plans").exists()


def test_the_record_says_where_a_fold_came_from(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", folds=("3",))
    (place,) = import_nnunet(folder, tmp_path).folds
    record = read_record(FoldFolder(place))
    assert record is not None
    assert (record.configuration, record.fold) == ("3d_fullres", "3")
    source = record.as_json()["imported_from"]
    assert (source["what"], source["model"], source["trainer"]) == ("nnU-Net v2", folder.name, "nnUNetTrainer")
    for name in ("fold_3/checkpoint_final.pth", "plans.json", "dataset.json"):
        assert source["sha256"][name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_all_configurations_of_a_results_folder(tmp_path: Path) -> None:
    results = tmp_path / "results" / "Dataset001_Toy"
    for name in ("2d", "3d_lowres", "3d_cascade_fullres"):
        write_model(results, name, SEVERAL, inference_allowed_mirroring_axes=(0, 1))
    result = import_nnunet(results, tmp_path)
    runs = tmp_path / "runs" / "Dataset001_Toy"
    assert {path.parent.name for path in result.folds} == {"2d", "3d_lowres", "3d_cascade_fullres"}
    assert result.notes == [
        f"{runs / '3d_cascade_fullres'} is the second stage of a cascade, and predicts with {runs / '3d_lowres'}"
    ]
    model = load_model(runs / "3d_cascade_fullres", CPU)
    assert model.previous is not None
    assert model.previous.folder == runs / "3d_lowres"


def test_an_exported_zip(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results" / "Dataset001_Toy", folds=("0", "all"))
    (folder / "fold_0" / "validation").mkdir()
    (folder / "fold_0" / "validation" / "summary.json").write_text('{"mean": {"1": {"Dice": 0.5}}}')
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "results"))
    result = import_nnunet(tmp_path / "model.zip", tmp_path)
    assert [path.name for path in result.folds] == ["fold_0", "fold_all"]
    assert record_of(result.folds[0])["imported_from"]["source"] == str(tmp_path / "model.zip")
    assert record_of(result.folds[0])["scores"]["dice"] == {"one": 0.5}


def test_one_that_cannot_be_imported_does_not_stop_the_others(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("2d", "3d_fullres"):
        write_model(results, name, SEVERAL, inference_allowed_mirroring_axes=(0, 1))
    (results / f"{TRAINER}__2d" / "fold_0" / "checkpoint_final.pth").write_bytes(b"x")
    result = import_nnunet(results, tmp_path)
    assert [path.parent.name for path in result.folds] == ["3d_fullres"]
    assert "damaged" in result.failed[f"{TRAINER}__2d"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results")
    import_nnunet(folder, tmp_path)
    with pytest.raises(ModelError, match=r"Nothing was imported:\n.*already holds a trained model"):
        import_nnunet(folder, tmp_path)
    assert import_nnunet(folder, tmp_path, ImportOptions(name="other")).folds


def test_the_best_checkpoint_is_taken_with_a_note(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results")
    fold = folder / "fold_0"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
    result = import_nnunet(folder, tmp_path)
    assert "checkpoint_best.pth was used" in result.notes[0]
    assert "fold_0/checkpoint_best.pth" in record_of(result.folds[0])["imported_from"]["sha256"]


def test_scores_of_a_fold_come_along(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results")
    summary = {"metric_per_case": [{}, {}], "mean": {"1": {"Dice": 0.75}, "2": {"Dice": float("nan")}}}
    (folder / "fold_0" / "validation").mkdir()
    (folder / "fold_0" / "validation" / "summary.json").write_text(json.dumps(summary))
    (place,) = import_nnunet(folder, tmp_path).folds
    assert record_of(place)["scores"] == {"cases": 2, "dice": {"one": 0.75, "two": None}}


@pytest.mark.parametrize("name", ["a/b", "", ".hidden"])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises((ModelError, PlanError), match="cannot be the name of a folder"):
        import_nnunet(write_model(tmp_path / "results"), tmp_path, ImportOptions(name=name))


def test_what_is_nothing_of_nnunets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file or folder"):
        import_nnunet(tmp_path / "nothing", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model of nnU-Net"):
        import_nnunet(tmp_path / "empty", tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["plans.pkl", "fold_0/model_final_checkpoint.model.pkl"])
def test_a_model_of_version_1_is_named(tmp_path: Path, name: str, zipped: bool) -> None:
    file = tmp_path / "3d_fullres" / "Task007_Pancreas" / "nnUNetTrainerV2__nnUNetPlansv2.1" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    source = tmp_path / "3d_fullres"
    if zipped:
        source = Path(shutil.make_archive(str(tmp_path / "exported"), "zip", tmp_path / "3d_fullres"))
    for use in (partial(import_nnunet, source, tmp_path), partial(load_model, source, torch.device("cpu"))):
        with pytest.raises(ModelError, match=r"is a model of nnU-Net v1 \(.*reads those of v2"):
            use()


# --- raw plans ---


def write_plans(folder: Path, name: str = "nnUNetPlans.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(SEVERAL))
    (folder / "dataset.json").write_text(json.dumps(dataset()))
    return folder / name


def test_raw_plans_become_a_plan_to_train_with(tmp_path: Path, save_nifti: Callable[..., Path]) -> None:
    raw = tmp_path / "raw"
    for number in range(4):
        image = image_of(number)
        save_nifti(raw / "imagesTr" / f"case{number}_0000.nii.gz", image)
        save_nifti(raw / "labelsTr" / f"case{number}.nii.gz", (image > 55).astype(np.uint8) + (image > 65))
    path = write_plans(tmp_path / "preprocessed")
    folds = [{"train": ["case0", "case1", "case2"], "val": ["case3"]}]
    (path.parent / "splits_final.json").write_text(json.dumps(folds))
    result = import_nnunet(path.parent, tmp_path, ImportOptions(name="toy", data=raw))
    assert result.plan == tmp_path / "plans" / "toy.yaml"
    assert result.notes == ["the folds are those of splits_final.json"]
    plan = load_plan(result.plan)
    assert (plan.default_configuration, plan.orientation, plan.data.folder) == ("3d_fullres", "stored", "raw")
    assert json.loads((tmp_path / "plans" / "toy.splits.json").read_text()) == folds
    small = ["training.validation_cases=1", "training.validations=1", "inference.mirror=false"]
    trained = train("toy", tmp_path, TrainOptions(steps=2, device="cpu", overrides=small))
    assert trained.failed == {}
    assert trained.summary is not None
    assert [case.case for case in trained.summary.cases] == ["case3"]


def test_raw_plans_need_a_dataset_json(tmp_path: Path) -> None:
    path = write_plans(tmp_path / "preprocessed")
    beside = path.with_name("dataset.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match=r"dataset\.json, which names channels and labels\.\nName it: --dataset-json"):
        import_nnunet(path, tmp_path)
    result = import_nnunet(path, tmp_path, ImportOptions(dataset_json=beside))
    assert result.plan == tmp_path / "plans" / "Dataset001_Toy.yaml"
    with pytest.raises(PlanError, match=r"Dataset001_Toy\.yaml exists already"):
        import_nnunet(path, tmp_path, ImportOptions(dataset_json=beside))


def test_folds_that_are_no_json_are_refused(tmp_path: Path) -> None:
    path = write_plans(tmp_path / "preprocessed")
    path.with_name("splits_final.json").write_text("[")
    with pytest.raises(DataError, match=r"splits_final\.json is not valid JSON"):
        import_nnunet(path, tmp_path)
    assert not (tmp_path / "plans").exists()


def test_of_several_raw_plans_one_has_to_be_chosen(tmp_path: Path) -> None:
    path = write_plans(tmp_path / "preprocessed")
    write_plans(tmp_path / "preprocessed", "nnUNetResEncUNetMPlans.json")
    with pytest.raises(PlanError, match=r"holds 2 plans: nnUNetPlans\.json, nnUNetResEncUNetMPlans\.json"):
        import_nnunet(path.parent, tmp_path)
    with pytest.raises(DataError, match="There is no folder"):
        import_nnunet(path, tmp_path, ImportOptions(data=tmp_path / "nowhere"))


def test_the_weights_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", folds=("0",))
    (place,) = import_nnunet(folder, tmp_path).folds
    (network,) = load_model(place, CPU).networks
    expected = ours("3d_fullres", plans(), dataset()).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", [None, "other"])
def test_a_kill_between_two_folds_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    """The next import clears what was left, whatever name it has."""
    folder = write_model(tmp_path / "results", folds=("0", "1", "2"))
    written: list[Path] = []

    def save(network: torch.nn.Module, files: FoldFolder, record: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(files.path)
        save_weights(network, files, record)

    with monkeypatch.context() as patched:
        patched.setattr(module, "save_weights", save)
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)  # nothing is tidied up, as after a kill
        with pytest.raises(KeyboardInterrupt):
            import_nnunet(folder, tmp_path)
    assert written[0].exists()
    with pytest.raises(ModelError, match="There is no trained model"):
        Workspace(tmp_path).model_path(None)
    monkeypatch.setattr(core_files, "_leftovers", {})  # as in a new process
    result = import_nnunet(folder, tmp_path, ImportOptions(name=name))
    assert len(result.folds) == 3
    assert all((fold / "weights.safetensors").exists() for fold in result.folds)
    assert not written[0].exists()


def test_a_missing_fold_of_an_import_is_named(tmp_path: Path) -> None:
    result = import_nnunet(write_model(tmp_path / "results", folds=("0", "1", "2")), tmp_path)
    assert load_model(result.folds[0].parent, CPU).notes == ()
    shutil.rmtree(result.folds[1])
    (note,) = load_model(result.folds[0].parent, CPU).notes
    assert "3 folds, of which 1 are missing; only 0, 2 answer" in note
    assert load_model(result.folds[0].parent, CPU, ["0"]).notes == (), "chosen by the user"


def test_files_of_another_run_are_not_mixed_with_an_import(tmp_path: Path) -> None:
    fold = tmp_path / "runs" / "toy" / "3d_fullres" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "plan.yaml").touch()
    with pytest.raises(ModelError, match="already holds files"):
        import_nnunet(write_model(tmp_path / "results"), tmp_path, ImportOptions(name="toy"))


def test_plans_nested_too_deep_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results")
    deep = json.loads("[" * 500 + "]" * 500)
    (folder / "plans.json").write_text(json.dumps(plans(experiment_planner_used=deep)))
    with pytest.raises(ModelError, match=r"plans\.json is not valid JSON: .* more than 100 levels"):
        import_nnunet(folder, tmp_path)


def test_folds_without_their_plan_are_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_plans(tmp_path / "preprocessed")
    (path.parent / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medseg.commands.models.import_nnunet.save_plan", stop)
        with pytest.raises(KeyboardInterrupt):
            import_nnunet(path, tmp_path, ImportOptions(name="toy"))
    assert list((tmp_path / "plans").iterdir()) == []
    import_nnunet(path, tmp_path, ImportOptions(name="toy"))
    names = ["plan.schema.json", "toy.splits.json", "toy.yaml"]
    assert sorted(file.name for file in (tmp_path / "plans").iterdir()) == names
    staging = tmp_path / "plans" / ".next.toy"
    staging.mkdir()
    for file in ("toy.splits.json", "toy.yaml"):
        (tmp_path / "plans" / file).rename(staging / file)  # as after a kill at the very end
    again = import_nnunet(path, tmp_path, ImportOptions(name="toy"))
    assert again.notes[-1] == "an import that was killed is finished"
    assert not staging.exists()
    with pytest.raises(PlanError, match="exists already"):
        import_nnunet(path, tmp_path, ImportOptions(name="toy"))


def with_largest(folder: Path) -> Path:
    """A model folder with the JSON that nnU-Net leaves beside its pickle."""
    names = ["remove_all_but_largest_component_from_segmentation"]
    content = {"postprocessing_fns": names, "postprocessing_kwargs": [{"labels_or_regions": 1}]}
    place = folder / "crossval_results_folds_0"
    place.mkdir()
    (place / "postprocessing.json").write_text(json.dumps(content))
    return folder


def test_postprocessing_is_imported_and_done_as_in_the_folder(tmp_path: Path) -> None:
    folder = with_largest(write_model(tmp_path / "nnunet"))
    notes = import_nnunet(folder, tmp_path).notes
    assert any("largest component of one" in note for note in notes)
    scan = make_image(np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32))
    imported, direct, plain = (
        Predictor.load(path, "cpu", selection=selection)(scan).array
        for path, selection in ((tmp_path / "runs/Dataset001_Toy", True), (folder, True), (folder, False))
    )
    assert np.array_equal(imported, direct)
    assert ndimage.label(imported[0] == 1, np.ones((3, 3, 3)))[1] == 1
    assert ndimage.label(plain[0] == 1, np.ones((3, 3, 3)))[1] > 1


def test_of_several_configurations_none_is_selected(tmp_path: Path) -> None:
    for name in ("3d_lowres", "3d_fullres"):
        with_largest(write_model(tmp_path / "nnunet", name, SEVERAL))
    notes = import_nnunet(tmp_path / "nnunet", tmp_path).notes
    assert sum("so its postprocessing is left out: largest component" in note for note in notes) == 2
    assert not (tmp_path / "runs/Dataset001_Toy/selection.yaml").exists()
