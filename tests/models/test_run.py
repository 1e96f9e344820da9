"""A trained run on disk: what is saved is loaded, and what does not belong together is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_plan, network_values
from safetensors.torch import load_file, save_file

from medseg.core.errors import ModelError, PlanError
from medseg.models.model import make_network
from medseg.models.record import RunRecord, read_record
from medseg.models.run import load_run, save_weights, trained_folds
from medseg.models.run_files import PLAN, WEIGHTS, FoldFolder, runs_below
from medseg.plans.file import save_plan
from medseg.plans.schema import Configuration, Plan

CPU = torch.device("cpu")


def new_network(plan: Plan, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return make_network(plan, plan.configuration("main"))


def write_fold(folder: Path, fold: str, plan: Plan | None = None, seed: int = 0, **record: Any) -> torch.nn.Module:
    plan = plan or make_plan(2)
    network = new_network(plan, seed)
    fold_folder = folder / f"fold_{fold}"
    save_plan(plan, fold_folder / PLAN)
    save_weights(network, FoldFolder(fold_folder), RunRecord(**{"configuration": "main", **record}))
    return network


def answer(network: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(9)
    with torch.inference_mode():
        return network(torch.randn(1, 1, 16, 16))[0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "toy" / "main"


def test_a_fold_comes_back_with_its_plan_and_weights(model: Path) -> None:
    network = write_fold(model, "0", steps=7)
    loaded = load_run(model, CPU)
    assert loaded.plan == make_plan(2)
    assert loaded.configuration_name == "main"
    assert loaded.configuration == make_plan(2).configuration("main")
    assert loaded.folds == ("0",)
    assert loaded.folder == model
    assert not loaded.networks[0].training
    torch.testing.assert_close(answer(loaded.networks[0]), answer(network.eval()), rtol=0, atol=0)
    assert read_record(FoldFolder(model / "fold_0")) == RunRecord(configuration="main", steps=7)


def test_all_folds_are_loaded_unless_some_are_named(model: Path) -> None:
    networks = {fold: write_fold(model, fold, seed=seed) for seed, fold in enumerate(["2", "0", "all"])}
    assert trained_folds(model) == ["0", "2", "all"]
    assert load_run(model, CPU).folds == ("0", "2", "all")
    some = load_run(model, CPU, ["2", "0"])
    assert some.folds == ("2", "0")
    for fold, network in zip(some.folds, some.networks, strict=True):
        torch.testing.assert_close(answer(network), answer(networks[fold].eval()), rtol=0, atol=0)


def test_a_copy_of_a_fold_that_was_put_aside_answers_only_by_its_own_path(model: Path) -> None:
    write_fold(model, "0")
    copy = write_fold(model, "0.old", seed=1)
    assert load_run(model, CPU).folds == ("0",)
    assert not [run for run in runs_below(model.parent, 1, WEIGHTS) if run.path != model]
    loaded = load_run(model / "fold_0.old", CPU)
    torch.testing.assert_close(answer(loaded.networks[0]), answer(copy.eval()), rtol=0, atol=0)


def test_the_folder_of_one_fold_is_a_model_too(model: Path) -> None:
    write_fold(model, "0", seed=0)
    network = write_fold(model, "1", seed=1)
    loaded = load_run(model / "fold_1", CPU)
    assert (loaded.folds, loaded.folder) == (("1",), model)
    torch.testing.assert_close(answer(loaded.networks[0]), answer(network.eval()), rtol=0, atol=0)


def test_a_run_that_is_not_finished_is_not_a_model(model: Path) -> None:
    write_fold(model, "0")
    (model / "fold_1").mkdir()
    (model / "fold_1" / "checkpoint.pt").write_bytes(b"under way")
    assert trained_folds(model) == ["0"]
    with pytest.raises(ModelError, match=r"has no trained fold 1, 5; trained there: 0\.\n"):
        load_run(model, CPU, ["0", "1", "5"])
    with pytest.raises(ModelError, match=r"has no trained fold; trained there: none"):
        load_run(model.parent, CPU)


def test_models_are_found_below_the_runs(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("b/3d", "a/2d", "a/3d"):
        write_fold(runs / name, "0")
    write_fold(runs / "a/2d", "1")
    (runs / "c" / "3d" / "fold_0").mkdir(parents=True)
    assert [run.path for run in runs_below(runs, 2, WEIGHTS)] == [
        runs / "a" / "2d",
        runs / "a" / "3d",
        runs / "b" / "3d",
    ]
    assert runs_below(tmp_path / "none", 2, WEIGHTS) == []


def test_overrides_reach_the_plan(model: Path) -> None:
    write_fold(model, "0")
    write_fold(model, "1")
    assert load_run(model, CPU, overrides=["inference.mirror=true"]).plan.inference.mirror
    with pytest.raises(PlanError, match=r"did you mean 'inference\.mirror'"):
        load_run(model, CPU, overrides=["inference.miror=true"])


@pytest.mark.parametrize(
    "changes",
    [
        {"configuration": {"spacing_mm": [1.0, 2.0]}},
        {"configuration": {"normalization": [{"scheme": "none"}]}},
        {"labels": {"structures": {"one": 2, "two": 1}}},
        {"orientation": "canonical"},
        {"transpose_forward": [0, 2, 1]},
    ],
)
def test_folds_of_different_plans_are_not_averaged(model: Path, changes: dict[str, Any]) -> None:
    write_fold(model, "0")
    write_fold(model, "1", make_plan(2, **changes))
    with pytest.raises(ModelError, match=r"The folds 0 and 1 of .* were trained with different plans"):
        load_run(model, CPU)
    assert load_run(model, CPU, ["1"]).folds == ("1",)


def test_folds_whose_outputs_are_in_another_order_are_not_averaged(model: Path) -> None:
    for fold, structures in (("0", {"one": 1, "two": 2}), ("1", {"two": 2, "one": 1})):
        regions = {"structures": structures, "activation": "sigmoid", "region_values": [*structures.values()]}
        write_fold(model, fold, make_plan(2, labels=regions))
    with pytest.raises(ModelError, match="were trained with different plans"):
        load_run(model, CPU)


def test_folds_may_have_been_trained_for_different_times(model: Path) -> None:
    plan = make_plan(2)
    write_fold(model, "0", plan)
    longer = plan.model_copy(update={"training": plan.training.model_copy(update={"steps": 999})})
    write_fold(model, "1", longer)
    assert len(load_run(model, CPU).networks) == 2


def test_weights_that_do_not_fit_their_plan_are_refused(model: Path) -> None:
    write_fold(model, "0")
    wider = make_plan(2, {"network": network_values(2, features=[5, 8, 16])})
    save_plan(wider, model / "fold_0" / PLAN)
    with pytest.raises(ModelError, match=r"The weights in .*fold_0 do not fit their plan: "):
        load_run(model, CPU)


def test_a_plan_that_lacks_the_configuration_is_refused(model: Path) -> None:
    write_fold(model, "0")
    write_fold(model, "1", configuration="big")
    with pytest.raises(ModelError, match=r"trained in the configuration 'big', which its plan does not have"):
        load_run(model / "fold_1", CPU)


def test_damaged_weights_are_refused(model: Path) -> None:
    write_fold(model, "0")
    path = model / "fold_0" / WEIGHTS
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match="do not fit their plan"):
        load_run(model, CPU)


class Own(torch.nn.Module):
    """A network of a user's own."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(channels, outputs, 1)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [self.layer(x)]


def make_own(configuration: Configuration, channels: int, outputs: int) -> torch.nn.Module:
    return Own(channels, outputs)


def test_a_network_of_ones_own_has_to_be_handed_in_again(model: Path) -> None:
    plan = make_plan(2)
    own = make_network(plan, plan.configuration("main"), make_own)
    assert isinstance(own, Own)
    save_plan(plan, model / "fold_0" / PLAN)
    save_weights(own, FoldFolder(model / "fold_0"), RunRecord(configuration="main", network_factory="make_own"))
    with pytest.raises(ModelError, match=r"a network of the user's own, make_own"):
        load_run(model, CPU)
    loaded = load_run(model, CPU, factory=make_own)
    torch.testing.assert_close(answer(loaded.networks[0]), answer(own), rtol=0, atol=0)


def test_the_network_has_the_channels_and_outputs_of_the_plan() -> None:
    data = {**make_plan(3).data.model_dump(), "channels": ["T1", "T2"]}
    regions = {"structures": {"all": [1, 2], "two": 2}, "activation": "sigmoid", "region_values": [1, 2]}
    for labels, outputs in ((regions, 2), ({"structures": {"one": 1, "two": 2}}, 3)):
        plan = make_plan(3, {"normalization": [{"scheme": "none"}] * 2}, data=data, labels=labels)
        network = make_network(plan, plan.configuration("main"))
        assert network(torch.zeros(1, 2, 8, 8, 8))[0].shape == (1, outputs, 8, 8, 8)


def test_weights_are_plain_tensors_written_last(model: Path) -> None:
    from safetensors import safe_open

    network = write_fold(model, "0")
    files = FoldFolder(model / "fold_0")
    with safe_open(files.weights, "pt") as stored:
        assert set(stored.keys()) == set(network.state_dict())
    stamps = [path.stat().st_mtime_ns for path in (files.record, files.weights)]
    assert stamps == sorted(stamps)
    assert read_record(FoldFolder(model / "fold_9")) is None


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(model: Path, odd: float) -> None:
    write_fold(model, "0")
    path = model / "fold_0" / WEIGHTS
    weights = load_file(path)
    name = list(weights)[3]
    weights[name].view(-1)[0] = odd
    save_file(weights, path)
    with pytest.raises(ModelError, match=rf"{re.escape(name)} has 1 of [\d,]+ values that are NaN or infinite"):
        load_run(model, CPU)
