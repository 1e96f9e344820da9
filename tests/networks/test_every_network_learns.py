"""Every row of the table of networks learns two real patches by heart, and goes on from a checkpoint bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learning.by_heart import learn_by_heart, two_patches
from tiny_networks import by_heart_plan, plan_of, rows

from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.training.data.batches import Batch
from medseg.training.length.course import Course
from medseg.training.run.checkpoint import load_checkpoint, on_host, save_checkpoint
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer


@pytest.mark.parametrize(("name", "dimensions"), rows(3))
def test_a_checkpoint_goes_on_bit_for_bit(name: str, dimensions: int, tmp_path: Path) -> None:
    """In 2D whole runs do: `test_every_network_trained.py`. Dropout draws the same numbers, too."""
    plan = plan_of(name, dimensions)
    configuration = plan.configuration("main")
    setup = Setup(plan, configuration, Course.over(2), torch.device("cpu"), torch.float32, FoldFolder(tmp_path))
    image = torch.randn(2, 2, 1, *configuration.patch_voxels, generator=torch.Generator().manual_seed(0))
    batches = [Batch(each, (each[:, 0] > 0.5).short()) for each in image]

    def trainer(seed: int) -> Trainer:
        torch.manual_seed(seed)
        return Trainer(make_network(plan, configuration), setup)

    through = trainer(0)
    through.step(setup, 0, batches[0])
    save_checkpoint(tmp_path / "state.pt", on_host(through.state(setup, 1)))
    loss = through.step(setup, 1, batches[1])
    again = trainer(1)
    assert again.restore(setup, load_checkpoint(tmp_path / "state.pt")) == 1
    assert torch.equal(again.step(setup, 1, batches[1]), loss)
    ended = through.network.state_dict()
    assert all(torch.equal(value, ended[key]) for key, value in again.network.state_dict().items())


LEARN_2D = ("attention_unet", "basic_unet", "basic_unet_plus_plus", "dynunet", "mednext", "plain_unet", "residual_unet")
LEARN = [(name, 2) for name in (*LEARN_2D, "flexible_unet", "segresnet", "segresnet_ds", "unet")]
LEARN += [(name, 3) for name in ("dynunet", "plain_unet", "segresnet", "segresnet_ds", "unet")]
"""Rows that know two patches within a few seconds; benchmarks/accuracy/overfit.py is for all of them."""


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize(("name", "dimensions"), LEARN)
def test_two_real_patches_are_learnt_by_heart(name: str, dimensions: int, data_dir: Path) -> None:
    """To a Dice of 0.95 for both structures together: after 30 to 90 steps on one processor, others round otherwise."""
    plan = by_heart_plan(name, dimensions)
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main"))
    patches = two_patches(data_dir / "hippocampus", plan.configuration("main").patch_voxels)
    assert int((patches[1] > 0).sum()) > 100
    assert learn_by_heart(network, plan, patches, 240).dice > 0.95
