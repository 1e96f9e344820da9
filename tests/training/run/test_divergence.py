"""What becomes of a run whose losses, gradients or weights are no longer numbers."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.small_runs import CPU, RECIPES, blob_samples, new_network, no_validation, plan_of, run, setup_of
from learning.weights import assert_same_weights

from medseg.core.errors import Stopped
from medseg.core.progress import Progress, silent
from medseg.models.run_files import CHECKPOINT, FoldFolder
from medseg.training.data.batches import Batch, Batches
from medseg.training.run import fit as fit_module
from medseg.training.run.checkpoint import load_checkpoint, on_host
from medseg.training.run.divergence import Diverged
from medseg.training.run.fit import fit
from medseg.training.run.log import read_log
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_scan_that_is_not_a_number_stops_the_run_and_is_named(tmp_path: Path, odd: float) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    samples[1].image[:] = odd
    with pytest.raises(Diverged) as caught:
        run(plan, samples, tmp_path, 20)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("The loss is nan after step ")
    assert all(line.startswith("  1, patch of (1, 32, 32) voxels from (") for line in lines[1:-2])
    assert all("its intensities are not all numbers" in line for line in lines[1:-2])
    assert lines[-2:-1] == ["  There is no checkpoint yet."]
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_patch_that_is_named_is_the_one_that_was_trained_on(tmp_path: Path) -> None:
    samples = blob_samples((16, 16, 16))
    for sample in samples:
        sample.image[:] = float("nan")
    with pytest.raises(Diverged, match=r"patch of \(16, 16, 16\) voxels from"):
        run(plan_of(3), samples, tmp_path, 30)


class Pooled(torch.nn.Module):
    """Batch normalization of a single voxel, as in DeepLabV3+: a batch of one sample is refused in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = torch.nn.BatchNorm2d(1), torch.nn.Conv2d(1, 3, 1)

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [self.head(x + self.norm(x.mean((2, 3), keepdim=True)))]


@pytest.mark.parametrize("odd", [True, False])
def test_a_network_that_takes_no_single_sample_diverges_with_a_message_too(tmp_path: Path, odd: bool) -> None:
    plan, samples, network = plan_of(2), blob_samples((2, 32, 32)), Pooled()
    if odd:
        samples[1].image[:] = float("nan")
    else:
        torch.nn.init.constant_(network.head.weight, float("inf"))
    with pytest.raises(Diverged, match="The loss is nan after step ") as caught:
        fit(network, samples, setup_of(plan, tmp_path, 20), no_validation, silent)
    assert ("its intensities are not all numbers" if odd else "The batch was made of:") in str(caught.value)
    assert "No sample does it alone" not in str(caught.value), "nobody knows"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_that_is_not_a_number_does_not_harm_the_weights(tmp_path: Path, recipe: str) -> None:
    plan, samples = plan_of(2, **RECIPES[recipe]), blob_samples((2, 32, 32))
    setup = setup_of(plan, tmp_path, 10)
    trainer, batches = (
        Trainer(new_network(plan), setup),
        Batches(samples, setup.configuration, plan.training, CPU),
    )
    batch = batches.make(0)
    trainer.step(setup, 0, batch)
    before = on_host(trainer.state(setup, 1))
    assert trainer.step(setup, 1, batch._replace(image=batch.image * float("nan"))).isnan()
    after = trainer.state(setup, 1)
    assert_same_weights(before["network"], after["network"])
    for number, values in before["optimizer"]["state"].items():
        assert_same_weights(values, after["optimizer"]["state"][number])
    assert all(bool(value.isfinite().all()) for value in trainer.best.state_dict().values())


def test_the_last_good_checkpoint_is_named_when_a_run_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    samples = blob_samples((2, 32, 32))

    def spoil(event: Progress) -> None:
        if event.done == 10:
            for sample in samples:
                sample.image[:] = float("nan")

    kept = r"The last good checkpoint, of step \d+, is kept: .*checkpoint\.pt"
    with pytest.raises(Diverged, match=r"The loss is nan after step 11\.\n(.*\n)+ *" + kept):
        run(plan_of(2), samples, tmp_path, 30, spoil)


def test_a_loss_that_explodes_stops_the_run(tmp_path: Path) -> None:
    plan, samples = plan_of(2, optimizer="sgd", learning_rate=1e9, gradient_clip=1e9), blob_samples((2, 32, 32))
    with pytest.raises(Diverged, match=r"The loss is (nan|inf|\d\.\d+e\+\d+) after step \d+") as caught:
        run(plan, samples, tmp_path, 200)
    assert "--resume --set training.learning_rate" in str(caught.value)


def test_weights_that_are_no_longer_numbers_reach_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", float("inf"))  # none before, however slow the machine is
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    network = new_network(plan)

    def spoil(event: Progress) -> None:
        if event.done == 20:
            network.get_parameter("heads.0.bias").data.fill_(float("nan"))

    with pytest.raises(Diverged, match=r"The weights are no longer numbers after step 20"):
        fit(network, samples, setup_of(plan, tmp_path, 20), no_validation, spoil)
    assert not (tmp_path / CHECKPOINT).exists()


class OddGradient(torch.autograd.Function):
    """The identity, with a gradient that is not finite where a switch says so."""

    odd = True

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (float("nan") if OddGradient.odd else 1.0)


class Spoiled(torch.nn.Module):
    """A network whose gradients are not finite, though its answers are."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, levels: int = 1) -> list[torch.Tensor]:
        return [OddGradient.apply(answer) for answer in self.network(x, levels)]


@pytest.mark.parametrize("steps", [5, 200])
def test_a_run_in_which_no_step_gets_through_ends(tmp_path: Path, steps: int) -> None:
    OddGradient.odd, plan = True, plan_of(2)
    network = Spoiled(new_network(plan))
    with pytest.raises(Diverged, match=r"gradient is NaN or infinite in each of the last (5|30) steps") as caught:
        fit(network, blob_samples((1, 40, 40)), setup_of(plan, tmp_path, steps), no_validation, silent)
    assert f"after step {min(steps, 30)}" in str(caught.value)


def test_steps_that_changed_nothing_are_counted_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, notes = plan_of(2), []
    learn = Trainer.step

    def step(self: Trainer, setup: Setup, number: int, batch: Batch) -> torch.Tensor:
        OddGradient.odd = number in (3, 12)
        return learn(self, setup, number, batch)

    monkeypatch.setattr(Trainer, "step", step)

    def callback(event: Progress) -> None:
        notes.append(event.info.get("note"))

    fit(Spoiled(new_network(plan)), blob_samples((1, 40, 40)), setup_of(plan, tmp_path, 30), no_validation, callback)
    said = [note for note in notes if note and "changed nothing" in note]
    assert [note.split(" steps")[0] for note in said] == ["1 of 10", "2 of 30"]
    records = [record for record in read_log(FoldFolder(tmp_path).log) if record["kind"] == "train"]
    assert [record.get("skipped") for record in records] == [1, 1, None]


def test_skipped_steps_are_counted_over_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, notes = plan_of(2), []
    learn = Trainer.step

    def step(self: Trainer, setup: Setup, number: int, batch: Batch) -> torch.Tensor:
        OddGradient.odd = number in (3, 12, 17)
        return learn(self, setup, number, batch)

    monkeypatch.setattr(Trainer, "step", step)
    samples, setup = blob_samples((1, 40, 40)), setup_of(plan, tmp_path, 30)

    def step_of_checkpoint() -> int:
        there = setup.files.checkpoint.exists()  # the first one may still be being written
        return int(load_checkpoint(setup.files.checkpoint)["step"]) if there else 0

    def stop_at_15(self: Trainer, setup: Setup, number: int, batch: Batch) -> torch.Tensor:
        if number == 15:
            raise KeyboardInterrupt
        deadline = time.monotonic() + 2
        while number > 10 and step_of_checkpoint() < 10 and time.monotonic() < deadline:
            time.sleep(0.01)  # a checkpoint that is still being written leaves out the next ones
        return step(self, setup, number, batch)

    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(Trainer, "step", stop_at_15)
    with pytest.raises(Stopped):
        fit(Spoiled(new_network(plan)), samples, setup, no_validation, silent)
    monkeypatch.setattr(Trainer, "step", step)

    def callback(event: Progress) -> None:
        notes.append(event.info.get("note"))

    fit(Spoiled(new_network(plan)), samples, setup, no_validation, callback, resume=True)
    said = [note for note in notes if note and "changed nothing" in note]
    assert [note.split(" steps")[0] for note in said] == ["3 of 30"]
    records = [record for record in read_log(FoldFolder(tmp_path).log) if record["kind"] == "train"]
    assert [record.get("skipped") for record in records] == [1, 2, None]


def test_a_short_last_session_may_change_nothing(tmp_path: Path) -> None:
    """Two thirds of the run have learned something: ten steps in vain at its end do not make it a lost one."""
    plan, OddGradient.odd = plan_of(2), False
    samples, setup = blob_samples((1, 40, 40)), setup_of(plan, tmp_path, 30)

    def stop_at_20(event: Progress) -> None:
        if event.done == 20:
            raise KeyboardInterrupt

    with pytest.raises(Stopped):
        fit(Spoiled(new_network(plan)), samples, setup, no_validation, stop_at_20)
    OddGradient.odd = True
    fit(Spoiled(new_network(plan)), samples, setup, no_validation, silent, resume=True)
    assert [record["skipped"] for record in read_log(FoldFolder(tmp_path).log) if record.get("skipped")] == [10]


def test_a_checkpoint_is_not_written_of_a_run_whose_loss_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps whose loss is NaN change nothing: their weights are finite, and as lost as the ones before."""
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    plan = plan_of(2)
    plan.training.learning_rate = 1e8
    with pytest.raises(Diverged) as caught:
        fit(new_network(plan), blob_samples((1, 40, 40)), setup_of(plan, tmp_path, 30), no_validation, silent)
    step = int(re.search(r"after step (\d+)", caught.value.message)[1])
    path = FoldFolder(tmp_path).checkpoint
    assert not path.exists() or load_checkpoint(path)["step"] < step
    assert caught.value.hint is not None
    assert "precision" not in caught.value.hint, "the run is in full precision already"
