"""Every row of the table of networks is trained, resumed, packed, asked and started from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_networks import rows, tiny
from toy_workspace import toy_plan, write_toy_workspace

import medseg
from medseg.core.errors import Cancelled
from medseg.core.progress import Progress
from medseg.models.model import make_network
from medseg.models.start import open_source, start_from
from medseg.plans.file import load_plan, save_plan, validate_plan


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("base")
    write_toy_workspace(workspace)
    return workspace


def workspace_of(base: Path, folder: Path, name: str) -> Path:
    """A copy of the toy workspace whose plan has a tiny network."""
    shutil.copytree(base, folder)
    plan = toy_plan(steps=12, learning_rate=0.002)
    values = plan.model_dump(mode="json")
    values["training"] |= {"validations": 1, "validation_cases": 1}
    network = tiny(name, 2)
    values["configurations"]["main"] |= {
        "network": network.network.model_dump(mode="json"),
        "patch_voxels": network.patch_voxels,
    }
    values["inference"]["backend"] = "torch"  # tracing takes longer than the run: test_every_network_converted.py
    save_plan(validate_plan(values, {}, "the test's plan"), folder / "plans" / "toy.yaml")
    return folder


def go(workspace: Path, callback: Callable[[Progress], None] = lambda event: None, **options: Any) -> Path:
    result = medseg.train(None, workspace, medseg.TrainOptions(device="cpu", **options), callback)
    return result.folder / "weights.safetensors"


def same(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize(("name", "dimensions"), rows(2, slow=True))
def test_a_run_from_training_to_answers(base: Path, tmp_path: Path, name: str, dimensions: int) -> None:
    """Interrupted and resumed is bitwise the same run; its package answers as it does; another run starts from it."""

    def stop(event: Progress) -> None:
        if event.stage == "train" and event.done == 10 and "loss" in event.info:
            raise Cancelled

    workspace, again = (workspace_of(base, tmp_path / kind, name) for kind in ("whole", "interrupted"))
    weights = go(workspace, fold="0")
    with pytest.raises(Cancelled):
        go(again, stop, fold="0")
    assert same(weights, go(again, fold="0", resume=True))

    run, package, answers = weights.parent.parent, workspace / "model.medseg", []
    medseg.package(run, package)
    options = medseg.PredictOptions(device="cpu", overrides=["inference.unlike_scans=warn"])
    for source in (run, package):
        output = workspace / f"answers_{source.suffix}"
        medseg.predict(workspace / "data" / "0_image.nii.gz", output, source, options=options)
        (file,) = output.glob("*.nii.gz")
        answers.append(medseg.read_label(file).array)
    first, second = answers
    assert np.array_equal(first, second)

    plan = load_plan(workspace / "plans" / "toy.yaml")
    torch.manual_seed(1)
    network = make_network(plan, plan.configuration("main"))
    start = start_from(network, plan, plan.configuration("main"), open_source(package))
    assert all(part.amount == "all" for part in start.parts)
    source, taken = load_file(weights), network.state_dict()
    assert source.keys() <= taken.keys()
    assert all(torch.equal(value, taken[key]) for key, value in source.items())
