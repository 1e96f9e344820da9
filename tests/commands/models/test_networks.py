"""`medseg networks`: every network in the table, in a plan, and stage by stage."""

import json
import re
from pathlib import Path

import pytest
from builders import make_plan, network_values
from small_sets import run

import medseg
from medseg.cli.output.display import console
from medseg.commands.models.networks import NetworkEntry
from medseg.models.model import make_network
from medseg.networks.table import NETWORKS
from medseg.plans.file import load_plan, save_plan


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a 2D plan of a small U-Net, and a 3D one."""
    for dimensions in (2, 3):
        network = network_values(dimensions, 3)
        (tmp_path / "plans").mkdir(exist_ok=True)
        configuration = {"network": network, "patch_voxels": [20] * (dimensions - 1) + [32]}
        save_plan(make_plan(dimensions, configuration), tmp_path / "plans" / f"toy{dimensions}d.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_networks_are_listed() -> None:
    networks = medseg.list_networks().networks
    assert [entry.name for entry in networks] == list(NETWORKS)
    by_name = {entry.name: entry for entry in networks}
    assert by_name["attention_unet"].class_name == "AttentionUnet"
    assert by_name["cenet"].dimensions == (2,)
    assert by_name["plain_unet"].deep_supervision
    assert not by_name["erfnet"].deep_supervision
    assert all(entry.paper for entry in networks)
    assert {entry.parameters for entry in networks} == {None}


def tried(name: str, plan: str) -> NetworkEntry:
    (entry,) = medseg.list_networks(name, options=medseg.NetworksOptions(plan)).networks
    return entry


def test_networks_in_a_plan(workspace: Path) -> None:
    unet = tried("plain_unet", "toy3d")
    plan = load_plan(workspace / "plans" / "toy3d.yaml")
    network = make_network(plan, plan.configuration("main"))
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert unet.parameters == weights
    assert (unet.training_bytes or 0) > 3 * 4 * weights
    assert unet.problem == ""
    assert tried("cenet", "toy3d").problem == "it takes 2D images"
    refused = tried("erfnet", "plans/toy2d.yaml")
    assert refused.parameters is None
    assert refused.problem.endswith(
        "patch_voxels is [20, 32], but erfnet needs multiples of [8, 8] and at least [8, 8], and more on one axis; the "
        "nearest valid patch is [16, 32]"
    )


def test_a_plan_without_stages_has_none_for_a_unet(workspace: Path) -> None:
    configuration = {"network": {"name": "erfnet"}, "patch_voxels": [32, 32]}
    save_plan(make_plan(2, configuration), workspace / "plans" / "bare.yaml")
    (entry,) = medseg.list_networks("plain_unet", options=medseg.NetworksOptions("bare")).networks
    assert entry.problem == "the plan has no stages for it; `medseg plan --network plain_unet` writes them"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("networks erfnett", "There is no network 'erfnett'.* Did you mean 'erfnet'"),
        ("networks --config 2d", "--config was given without a plan"),
        ("networks erfnet --draw --set training.steps=1", "--set was given without a plan"),
        ("networks --plan nowhere", "There is no plan"),
        ("networks erfnet --plan toy2d --config nope", "has no configuration 'nope'; it has main"),
        ("networks --draw erfnet --plan toy2d --config nope", "has no configuration 'nope'; it has main"),
        ("networks --draw", "There are 2 plans"),
        ("networks --draw cenet --plan toy3d", "cenet does not take the configuration main: it takes 2D images"),
        ("networks --draw erfnet --plan toy2d", r"nearest valid patch is \[16, 32\]"),
    ],
)
def test_what_is_refused(workspace: Path, line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 2
    assert re.search(told, " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize("columns", [80, 100])
def test_a_drawing_fits_the_terminal(
    workspace: Path, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", columns)
    assert run("networks --draw --plan toy2d") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    rows = [line.split() for line in lines]
    assert rows[0] == ["plain_unet,", "image", "1", "x", "20", "x", "32,", "in", "toy,", "main"]
    assert rows[1] == ["stage", "module", "answer", "parameters"]
    names = ["encoder.0", "encoder.1", "encoder.2", "up.0", "decoder.0", "up.1", "decoder.1", "heads.1"]
    assert [row[0] for row in rows[2:10]] == names
    # 9 weights for each of 4 features, their biases, and 2 for each of instance normalization
    assert rows[2][1:] == ["ConvBlock", "4", "x", "20", "x", "32", "48"]
    assert rows[9][1:] == ["Conv2d", "3", "x", "20", "x", "32", "15"]
    assert rows[10][:4] == ["heads.0", "Conv2d", "not", "used"]  # of the coarsest level, as in nnU-Net


def test_a_network_is_drawn_without_a_plan(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("networks --draw erfnet --json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stages = [record for record in records if record["kind"] == "stage"]
    (result,) = [record for record in records if record["kind"] == "result"]
    assert stages[0] == {
        "kind": "stage",
        "name": "encoder.0",
        "module": "Downsampler",
        "count": 1,
        "shape": [16, 128, 128],
        "parameters": 182,  # 15 kernels of 3 x 3 with a bias, and 2 for each of 16 channels
    }
    assert sum(stage["parameters"] for stage in stages) == result["parameters"]
    assert result["answers"] == [[2, 256, 256]]
    assert (result["plan"], result["configuration"]) == (None, None)
