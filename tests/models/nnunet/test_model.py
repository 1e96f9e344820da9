"""nnU-Net's model folders, run as they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_folders import TRAINER, architecture, checkpoint, configuration, dataset, ours, plans, write_model

from medseg.core.errors import ModelError, PlanError
from medseg.models.open import load_model

CPU = torch.device("cpu")
CASCADE = plans(
    {
        "3d_lowres": configuration(spacing=[2.0, 2.0, 2.0], next_stage="3d_cascade_fullres"),
        "3d_fullres": configuration(),
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
)


def answer(network: torch.nn.Module, channels: int = 1, dimensions: int = 3) -> torch.Tensor:
    torch.manual_seed(9)
    with torch.inference_mode():
        return network(torch.randn(1, channels, *[16] * dimensions))[0]


def same(network: torch.nn.Module, other: torch.nn.Module, channels: int = 1, dimensions: int = 3) -> bool:
    return torch.equal(answer(network, channels, dimensions), answer(other, channels, dimensions))


def test_a_model_folder_is_loaded_with_all_its_folds(tmp_path: Path) -> None:
    folder = write_model(tmp_path, folds=("0", "1", "10"))
    model = load_model(folder, CPU)
    assert (model.configuration_name, model.folds, model.folder) == ("3d_fullres", ("0", "1", "10"), folder)
    assert model.plan.orientation == "stored"
    assert model.previous is None
    assert model.notes == ()
    for seed, network in enumerate(model.networks):
        assert same(network, ours("3d_fullres", plans(), dataset(), seed))


@pytest.mark.parametrize(("dimensions", "residual"), [(2, False), (2, True), (3, True)])
def test_every_kind_of_u_net(tmp_path: Path, dimensions: int, residual: bool) -> None:
    name = "2d" if dimensions == 2 else "3d_fullres"
    plan = plans({name: configuration(dimensions, architecture=architecture(dimensions, residual))})
    model = load_model(write_model(tmp_path, name, plan, inference_allowed_mirroring_axes=(0,)), CPU)
    assert same(model.networks[0], ours(name, plan, dataset()), dimensions=dimensions)


def test_folds_that_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path, folds=("0", "1", "all"))
    assert load_model(folder, CPU).folds == ("0", "1")
    assert load_model(folder, CPU, ["all"]).folds == ("all",)
    assert load_model(folder / "fold_1", CPU).folds == ("1",)
    with pytest.raises(ModelError, match=r"has no trained fold 3; trained there: 0, 1, all"):
        load_model(folder, CPU, ["3"])


def test_folds_without_a_checkpoint_are_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path, folds=("0", "1"))
    (folder / "fold_2").mkdir()
    model = load_model(folder, CPU)
    assert (model.folds, model.notes) == (
        ("0", "1"),
        ("no checkpoint in fold_2, left out: was the model copied whole?",),
    )
    assert load_model(folder, CPU, ["0"]).notes == ()


def test_the_fold_all_is_taken_where_there_is_no_other(tmp_path: Path) -> None:
    assert load_model(write_model(tmp_path, folds=("all",)), CPU).folds == ("all",)


def test_the_checkpoint_is_the_final_one_else_the_best(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    fold = folder / "fold_0"
    for seed, name in ((5, "best"), (6, "latest")):
        torch.save(checkpoint("3d_fullres", plans(), dataset(), seed), fold / f"checkpoint_{name}.pth")
    best = ours("3d_fullres", plans(), dataset(), 5)
    assert not same(load_model(folder, CPU).networks[0], best)
    assert same(load_model(folder, CPU, checkpoint="best").networks[0], best)
    assert same(load_model(folder, CPU, checkpoint="checkpoint_best.pth").networks[0], best)
    (fold / "checkpoint_final.pth").unlink()
    model = load_model(folder, CPU)
    assert same(model.networks[0], best)
    assert model.notes == (
        "fold_0 has no checkpoint_final.pth, as its training did not end; checkpoint_best.pth was used",
    )
    with pytest.raises(
        ModelError, match=r"fold_0 has no checkpoint_final.pth; it has checkpoint_best.pth, checkpoint_"
    ):
        load_model(folder, CPU, checkpoint="final")
    (fold / "checkpoint_best.pth").unlink()
    with pytest.raises(ModelError, match=r"neither .* it has checkpoint_latest.pth.\nName the one that is meant"):
        load_model(folder, CPU)
    assert load_model(folder, CPU, checkpoint="latest").folds == ("0",)


def test_of_several_models_one_has_to_be_chosen(tmp_path: Path) -> None:
    results = tmp_path / "Dataset001_Toy"
    plan = plans({"3d_fullres": configuration(), "2d": configuration(2)})
    write_model(results, "3d_fullres", plan)
    assert load_model(results, CPU).configuration_name == "3d_fullres"
    assert load_model(tmp_path, CPU).configuration_name == "3d_fullres"
    write_model(results, "2d", plan, inference_allowed_mirroring_axes=(0, 1))
    with pytest.raises(
        ModelError, match=rf"holds 2 nnU-Net models: {TRAINER}__2d, {TRAINER}__3d_fullres\.\nChoose one"
    ):
        load_model(results, CPU)
    assert load_model(results, CPU, configuration="2d").configuration.patch_voxels == [16, 16]
    with pytest.raises(ModelError, match=r"no nnU-Net model of the configuration '3d_lowres'; there are"):
        load_model(results, CPU, configuration="3d_lowres")


def test_a_renamed_folder_is_what_its_checkpoint_says(tmp_path: Path) -> None:
    folder = write_model(tmp_path).rename(tmp_path / "model")
    assert load_model(folder, CPU).configuration_name == "3d_fullres"
    assert load_model(folder, CPU, configuration="3d_fullres").configuration_name == "3d_fullres"
    with pytest.raises(ModelError, match=r"was trained in the configuration '3d_fullres', not '2d'"):
        load_model(folder, CPU, configuration="2d")


def test_mirrored_axes_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    folder = write_model(tmp_path, inference_allowed_mirroring_axes=(0, 2))
    assert load_model(folder, CPU).configuration.mirror_axes == [0, 2]
    assert (
        load_model(folder, CPU, overrides=["configurations.3d_fullres.mirror_axes=[]"]).configuration.mirror_axes == []
    )
    folder = write_model(tmp_path, inference_allowed_mirroring_axes=None)
    assert load_model(folder, CPU).configuration.mirror_axes == []
    folder = write_model(tmp_path, inference_allowed_mirroring_axes=(0, 3))
    with pytest.raises(PlanError, match="mirror_axes"):
        load_model(folder, CPU)


def test_overrides_reach_the_plan(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    assert not load_model(folder, CPU, overrides=["inference.mirror=false"]).plan.inference.mirror
    with pytest.raises(PlanError, match=r"did you mean 'inference\.mirror'"):
        load_model(folder, CPU, overrides=["inference.miror=false"])


@pytest.mark.parametrize(
    "trainer",
    [
        "nnUNetTrainer_250epochs_NoMirroring",
        "nnUNetTrainerVanillaAdam3en4",
        "nnUNetTrainerTopk10LossLS01",
        "nnUNetTrainerDA5Segord0",
        "nnUNetTrainer_probabilisticOversampling_033",
    ],
)
def test_a_trainer_of_nnunets_own_is_not_told(tmp_path: Path, trainer: str) -> None:
    assert load_model(write_model(tmp_path, trainer_name=trainer), CPU).notes == ()


def test_a_trainer_of_ones_own_is_told(tmp_path: Path) -> None:
    assert (
        "trained by nnUNetTrainerSwish"
        in load_model(write_model(tmp_path, trainer_name="nnUNetTrainerSwish"), CPU).notes[0]
    )


def test_weights_and_plan_have_to_fit(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    wide = plans({"3d_fullres": configuration(architecture=architecture(features_per_stage=[4, 8, 12]))})
    (folder / "plans.json").write_text(json.dumps(wide))
    with pytest.raises(
        ModelError, match=r"checkpoint_final.pth do not fit their plan: encoder\.2\.0\.conv\.weight is 8x8"
    ):
        load_model(folder, CPU)
    deep = plans({"3d_fullres": configuration(architecture=architecture(n_conv_per_stage=[1, 2, 3]))})
    (folder / "plans.json").write_text(json.dumps(deep))
    with pytest.raises(ModelError, match=r"do not fit their plan: the network also has encoder\.2\.2\.conv\.weight"):
        load_model(folder, CPU)
    flat = plans({"3d_fullres": configuration(architecture=architecture(n_conv_per_stage=[1, 1, 2]))})
    (folder / "plans.json").write_text(json.dumps(flat))
    with pytest.raises(ModelError, match=r"do not fit their plan: the network has no encoder\.1\.1\.conv\.weight"):
        load_model(folder, CPU)


def test_only_the_configuration_that_is_run_has_to_be_known(tmp_path: Path) -> None:
    primus = {"network_class_name": "dynamic_network_architectures.architectures.primus.Primus", "arch_kwargs": {}}
    plan = plans({"3d_fullres": configuration(), "3d_primus": configuration(architecture=primus)})
    assert list(load_model(write_model(tmp_path, "3d_fullres", plan), CPU).plan.configurations) == ["3d_fullres"]
    write_model(tmp_path, "3d_fullres", plan).rename(tmp_path / f"{TRAINER}__3d_primus")
    fold = tmp_path / f"{TRAINER}__3d_primus" / "fold_0"
    content = checkpoint("3d_fullres", plan, dataset(), init_args={"configuration": "3d_primus"})
    torch.save(content, fold / "checkpoint_final.pth")
    with pytest.raises(ModelError, match=r"Configuration 3d_primus: the network '\S+Primus' has no counterpart"):
        load_model(fold.parent, CPU)


@pytest.mark.parametrize("name", ["dataset.json", "plans.json"])
@pytest.mark.parametrize(
    ("content", "message"), [(None, r"There is no \S+\.json"), ("{", "is not valid JSON"), ("[]", "holds a list")]
)
def test_missing_and_damaged_descriptions_are_named(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = write_model(tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        load_model(folder, CPU)


def test_a_cascade_finds_its_first_stage_beside_it(tmp_path: Path) -> None:
    low = write_model(tmp_path, "3d_lowres", CASCADE, folds=("0", "1"))
    full = write_model(tmp_path, "3d_cascade_fullres", CASCADE, folds=("0", "1"))
    model = load_model(full, CPU, ["1"], ["inference.mirror=false"])
    assert model.previous is not None
    assert (model.previous.configuration_name, model.previous.folds, model.previous.folder) == (
        "3d_lowres",
        ("1",),
        low,
    )
    assert not model.previous.plan.inference.mirror
    assert model.configuration.spacing_mm == [1.0, 1.0, 1.0]
    assert same(model.networks[0], ours("3d_cascade_fullres", CASCADE, dataset(), 1), channels=3)
    assert same(model.previous.networks[0], ours("3d_lowres", CASCADE, dataset(), 1))
    assert load_model(tmp_path, CPU, configuration="3d_cascade_fullres").previous is not None
    only_one = ["configurations.3d_cascade_fullres.mirror_axes=[1]", "inference.step_fraction=0.75"]
    model = load_model(full, CPU, overrides=only_one)
    assert model.previous is not None
    assert (model.configuration.mirror_axes, model.previous.configuration.mirror_axes) == ([1], [0, 1, 2])
    assert model.previous.plan.inference.step_fraction == 0.75
    shutil.rmtree(low)
    with pytest.raises(
        ModelError, match=r"second stage of a cascade; its first stage 3d_lowres is not beside it: .*lowres"
    ):
        load_model(full, CPU)


def test_folds_of_different_configurations_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, folds=("0", "1"))
    content: dict[str, Any] = checkpoint("3d_fullres", plans(), dataset(), init_args={"configuration": "2d"})
    torch.save(content, folder / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(ModelError, match=r"different configurations: fold_0: 3d_fullres, fold_1: 2d"):
        load_model(folder, CPU)


def test_a_model_writes_what_its_order_of_regions_says(tmp_path: Path) -> None:
    """nnU-Net trained it so, and its network does not depend on the order; a data set with such an order is refused."""
    labels = {"background": 0, "whole": [1, 2], "front": 1}
    data = dataset(labels=labels, regions_class_order=[1, 2])
    model = load_model(write_model(tmp_path, data=data), CPU)
    assert model.plan.labels.written_values == {"whole": 1, "front": 2}
    note = (
        "regions_class_order writes front as 2, which is none of its own values: 1; answers have it so, as in nnU-Net"
    )
    assert note in model.notes
