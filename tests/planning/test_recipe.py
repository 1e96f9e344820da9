"""The recipe nnunet is nnU-Net's, whatever the plan says, and the user's own settings come last."""

from pathlib import Path
from typing import Any

import pytest
from builders import make_plan, make_training

from medseg.core.errors import PlanError
from medseg.planning.memory import PLANNERS
from medseg.planning.planner import plan_from_fingerprint
from medseg.planning.recipe import load_plan_to_train, note_on_rate, training_recipe, with_nnunet_recipe
from medseg.plans.file import save_plan

NNUNET: dict[str, Any] = {
    "steps": 250_000,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "encoder_learning_rate": 1.0,
    "momentum": 0.99,
    "weight_decay": 3e-5,
    "schedule": "poly",
    "schedule_epoch_steps": 250,
    "gradient_clip": 12.0,
    "foreground_fraction": 0.33,
    "deep_supervision": True,
    "dice_weight": 1.0,
    "cross_entropy_weight": 1.0,
    "average_weights": 0.0,
}


def test_the_recipe_is_nnunets_and_nothing_of_the_plans_own_is_left() -> None:
    own = {"encoder_learning_rate": 0.5, "average_weights": 0.9, "dice_weight": 3.0, "loss": "tversky"}
    odd = make_training(seed=7, precision="bf16", **own)
    plan = with_nnunet_recipe(make_plan(training=odd.model_dump()))
    values = plan.training.model_dump()
    assert {key: values[key] for key in NNUNET} == NNUNET
    assert plan.training.loss.name == "dice_ce"
    assert (plan.training.seed, plan.training.precision) == (7, "bf16")
    assert plan.training.augmentation.rotation_probability == 0.2
    assert plan.training.augmentation.gamma_probability == 0.3


def test_regions_with_an_ignore_label_are_added_up_as_in_nnunet() -> None:
    regions = {"structures": {"one": [1, 2], "two": [2]}, "activation": "sigmoid", "region_values": [1, 2]}
    assert with_nnunet_recipe(make_plan(labels=regions)).training.cross_entropy_weight == 1
    assert with_nnunet_recipe(make_plan(labels={**regions, "ignore": 3})).training.cross_entropy_weight == 2


def test_what_the_user_sets_comes_after_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    save_plan(make_plan(), path)
    plan = load_plan_to_train(path, ["training.momentum=0.95"], "nnunet")
    assert (plan.training.momentum, plan.training.optimizer) == (0.95, "sgd")
    assert plan.reasons["training.optimizer"] == "nnU-Net's, by --recipe nnunet"
    assert load_plan_to_train(path, [], None) == make_plan()
    with pytest.raises(PlanError, match="no recipe 'nnUNet'"):
        load_plan_to_train(path, [], "nnUNet")


@pytest.mark.parametrize(
    ("optimizer", "rate", "told"),
    [
        ("adam", 0.01, "high for adam"),
        ("AdamW", 0.01, "high for adamw"),
        ("sgd", 1e-4, "low for sgd"),
        ("muon", 1, "high"),
    ],
)
def test_a_rate_that_was_meant_for_another_optimizer_is_told(optimizer: str, rate: float, told: str) -> None:
    (note,) = note_on_rate(make_training(optimizer=optimizer, learning_rate=rate))
    assert told in note


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_the_recipes_have_usual_rates(preset: str) -> None:
    values = training_recipe(preset, 2)[0]
    assert note_on_rate(make_training(**{key: values[key] for key in ("optimizer", "learning_rate")})) == []


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("shape_zyx", [(40, 50, 35), (1, 256, 256)], ids=["3D", "2D"])
def test_the_preset_cpu_has_a_smaller_network_of_the_same_stages(planner: str, shape_zyx: tuple[int, ...]) -> None:
    facts = {"spacings": [(1.0, 1.0, 1.0)], "shapes_after_crop": [shape_zyx], "cases": 200, "structures": 2}
    small, usual = (
        plan_from_fingerprint({**facts, "channels": ["MRI"]}, planner, 2.0, preset) for preset in ("cpu", "gpu")
    )
    for name in small.configurations:
        one = small.configuration(name)
        network, planned = one.network, usual.configuration(name).network
        assert network.features == [max(8, count // 2) for count in planned.features]
        assert network.model_copy(update={"features": planned.features}) == planned
        assert one.patch_voxels == usual.configuration(name).patch_voxels
        assert one.batch_size <= {2: 4, 3: 2}[len(one.patch_voxels)]
        assert "preset cpu" in small.reasons[f"configurations.{name}.network.features"]
