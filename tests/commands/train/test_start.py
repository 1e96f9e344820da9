"""Runs that start from another model, and runs with nnU-Net's recipe, on real scans with a few steps each."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import medseg
from medseg.models.identity import identity
from medseg.models.open import load_model
from medseg.models.start import Start

CASES = ("hippocampus_001", "hippocampus_003", "hippocampus_004")
SMALL = [
    "configurations.3d_fullres.batch_size=2",
    "configurations.3d_fullres.network.features=[4, 8, 16, 32]",
    "training.validation_cases=1",
]
SOURCE = "hippocampus/3d_fullres"


@pytest.fixture(scope="module")
def workspace(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a trained run of two structures, and a plan of one of them."""
    workspace = tmp_path_factory.mktemp("workspace")
    names = [file.name.removesuffix(".nii.gz") for file in (data_dir / "hippocampus" / "imagesTr").glob("*.gz")]
    listing = workspace / "excluded.txt"
    listing.write_text("\n".join(name for name in names if name not in CASES))
    for name, only in (("hippocampus", {}), ("anterior", {"structures": ["Anterior=1"], "map": ["2=0"]})):
        data = medseg.DataOptions(exclude=listing, **only)
        options = medseg.PlanOptions(preset="cpu", data=data, overrides=SMALL)
        medseg.plan(data_dir / "hippocampus", workspace, name, options)
    medseg.train("hippocampus", workspace, medseg.TrainOptions(fold="all", steps=3, device="cpu"))
    return workspace


@pytest.mark.real
def test_a_run_starts_from_another_and_says_what_it_took(workspace: Path) -> None:
    events: list[medseg.Progress] = []
    options = medseg.TrainOptions(
        fold="all", steps=2, device="cpu", init=SOURCE, overrides=["training.encoder_learning_rate=0"]
    )
    result = medseg.train("anterior", workspace, options, events.append)
    stages = [event.stage for event in events]
    assert stages.index("start") < stages.index("train")
    start = events[stages.index("start")].info["start"]
    assert isinstance(start, Start)
    source = workspace / "runs" / SOURCE
    said = result.record.as_json()["init"]
    assert said["model"] == start.model == identity(load_model(source, torch.device("cpu")))
    heads = said["parts"][-1]
    assert (heads["name"], heads["detail"]) == ("heads", "structures: Anterior taken; Posterior left out")
    assert f"--init {SOURCE}" in result.record.as_json()["repeat_with"]
    # the encoder was frozen, so that it is the source's to the last bit; the decoder has learnt
    theirs = load_file(source / "fold_all" / "weights.safetensors")
    mine = load_file(result.folder / "weights.safetensors")
    assert all(torch.equal(mine[name], theirs[name]) for name in mine if name.startswith("encoder."))
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine if name.startswith("decoder."))
    page = (result.folder / "report.html").read_text()
    assert "Parts of the network" in page
    assert said["model"] in page


@pytest.mark.real
@pytest.mark.parametrize("option", [{"init": SOURCE}, {"recipe": "nnunet"}])
def test_what_a_run_begins_with_cannot_be_changed_later(workspace: Path, option: dict[str, str]) -> None:
    with pytest.raises(medseg.PlanError, match="only for a new run"):
        medseg.train("hippocampus", workspace, medseg.TrainOptions(fold="all", resume=True, **option))


@pytest.mark.real
def test_there_has_to_be_something_to_start_from(workspace: Path) -> None:
    with pytest.raises(medseg.ModelError, match="nothing"):
        medseg.train("anterior", workspace, medseg.TrainOptions(fold="1", init="nothing"))


@pytest.mark.real
def test_the_recipe_stands_in_the_runs_plan(workspace: Path) -> None:
    options = medseg.TrainOptions(fold="all", configuration="2d", steps=2, device="cpu", recipe="nnunet")
    result = medseg.train("anterior", workspace, options)
    own = medseg.load_plan(result.folder / "plan.yaml")
    assert (own.training.optimizer, own.training.momentum, own.training.schedule_epoch_steps) == ("sgd", 0.99, 250)
    assert (result.record.as_json()["recipe"], result.record.as_json()["steps"]) == ("nnunet", 2)
    assert "--recipe nnunet" in result.record.as_json()["repeat_with"]
    assert medseg.load_plan(workspace / "plans" / "anterior.yaml").training.optimizer == "muon"
    assert json.loads((result.folder / "run.json").read_text())["init"] is None
