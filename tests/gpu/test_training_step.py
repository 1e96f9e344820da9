"""Batches and steps of training on a GPU, without one: devices do not mix, and nothing waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_augmentation, make_plan, make_sample, make_training, network_values
from torch._subclasses.fake_tensor import DataDependentOutputException

from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.networks import cuda_graph
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch, Batches
from medseg.training.data.sampling import Draw, Sampler
from medseg.training.length.course import Course
from medseg.training.losses.protocol import VOXEL_WEIGHTS
from medseg.training.losses.table import LOSSES, make_loss
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

PATCH, BATCH = 16, 2
ALL_CHANGES = make_augmentation(
    **{f"{name}_probability": 1.0 for name in ("rotation", "scaling", "noise", "blur", "brightness", "contrast")},
    **{f"{name}_probability": 1.0 for name in ("low_resolution", "gamma_inverted", "gamma")},
)
PLAIN = {"structures": {"one": 1, "two": 2}, "ignore": 9}
REGIONS = {"structures": {"all": [1, 2], "two": 2}, "activation": "sigmoid", "region_values": [1, 2], "ignore": 9}


def plan_of(dimensions: int = 3, labels: dict[str, Any] | None = None, batch_dice: bool = False, **more: Any) -> Plan:
    configuration = {
        "patch_voxels": [PATCH] * dimensions,
        "batch_size": BATCH,
        "batch_dice": batch_dice,
        "network": network_values(dimensions, 3),
        "normalization": [{"scheme": "zscore", "nonzero_only": True}],
    }
    training = make_training(augmentation=ALL_CHANGES.model_dump(), average_weights=0.9, **more)
    return make_plan(dimensions, configuration, training=training.model_dump(), labels=labels or PLAIN)


def samples(device: torch.device | str, partly: bool = False) -> list[Sample]:
    """Preprocessed cases; `device` says whether they lie on the GPU or are streamed to it."""
    found = []
    for number in range(2):
        label = np.zeros((20, 20, 20), np.int16)
        label[4:12, 4:12, 4:12] = 1
        label[6:8, 6:8, 6:8] = 2
        sample = make_sample(np.ones(label.shape), label, name=str(number))
        values = {
            "image": torch.empty(sample.image.shape, device=device),
            "label": torch.empty(sample.label.shape, dtype=torch.int16, device=device),
            "structures": torch.ones(2, dtype=torch.bool) if partly else None,
        }
        found.append(Sample(**{**vars(sample), **values}))
    return found


def trained(plan: Plan, device: torch.device, precision: torch.dtype, batch: Batch, folder: Path) -> Trainer:
    """A trainer after three steps on a batch."""
    configuration = plan.configuration("main")
    with device:
        network = make_network(plan, configuration)
    setup = Setup(plan, configuration, Course.over(10), device, precision, FoldFolder(folder))
    trainer = Trainer(network, setup)
    for step in range(3):
        loss = trainer.step(setup, step, batch)
        assert (loss.device.type, loss.shape) == ("cuda", ())
    assert {weight.device.type for weight in trainer.best.parameters()} == {"cuda"}
    return trainer


def batch_on(device: torch.device, partly: bool = False, dimensions: int = 3) -> Batch:
    shape = [PATCH] * dimensions
    annotated = torch.ones(BATCH, 2, dtype=torch.bool, device=device) if partly else None
    image, target = torch.empty(BATCH, 1, *shape, device=device), torch.empty(BATCH, *shape, device=device)
    return Batch(image, target.to(torch.int16), annotated)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_every_optimizer_in_every_precision(
    cuda: torch.device, tmp_path: Path, optimizer: str, precision: torch.dtype
) -> None:
    """With the moving average of weights, and with the scaler of fp16."""
    trained(plan_of(optimizer=optimizer), cuda, precision, batch_on(cuda), tmp_path)


class Plain:
    """Runs steps where a GPU would record them: nothing in them may wait for the device either."""

    def __init__(self, device: torch.device) -> None:
        self.recorded = 0

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        return step()

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        self.recorded += 1
        return (lambda: None), step()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_step_that_is_recorded_asks_for_nothing(
    cuda: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """With the learning rate on the device, where a graph reads it."""
    monkeypatch.setattr(cuda_graph, "CudaRecorder", Plain)
    plan = plan_of(optimizer=optimizer, cuda_graph=True)
    configuration = plan.configuration("main")
    with cuda:
        network = make_network(plan, configuration)
    setup = Setup(plan, configuration, Course.over(10), cuda, torch.bfloat16, FoldFolder(tmp_path))
    trainer = Trainer(network, setup)
    assert {group["lr"].device.type for group in trainer.optimizer.param_groups} == {"cuda"}
    for step in range(cuda_graph.WARM_UP_STEPS + 2):
        assert trainer.step(setup, step, batch_on(cuda)).device.type == "cuda"
    assert trainer.note is None


@pytest.mark.parametrize("labels", [PLAIN, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("partly", [False, True], ids=["all labels", "partial labels"])
@pytest.mark.parametrize("batch_dice", [False, True], ids=["each", "batch"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_kind_of_label(
    cuda: torch.device, tmp_path: Path, labels: dict[str, Any], partly: bool, batch_dice: bool, dimensions: int
) -> None:
    plan = plan_of(dimensions, labels, batch_dice)
    trained(plan, cuda, torch.bfloat16, batch_on(cuda, partly, dimensions), tmp_path)


WAITS = {"skeleton_recall": "it stops to erode where nothing is left"}
"""Losses that ask the device for a number in each step -> why."""


@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "weighed"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(cuda: torch.device, tmp_path: Path, loss: str, weighed: bool) -> None:
    """With weights of cases and of voxels, where a loss takes them; without an ignore value.

    Losses but `dice_ce` and those of neighbouring voxels take out the voxels that do not count, whose number they ask
    for where there are any.
    """
    labels = {name: value for name, value in (REGIONS if loss == "bce" else PLAIN).items() if name != "ignore"}
    plan = plan_of(labels=labels, loss=loss)
    batch = batch_on(cuda)
    if weighed:
        takes_maps = VOXEL_WEIGHTS in make_loss(plan.training, plan.labels, batch_dice=False).supports
        voxels = torch.empty(batch.target.shape, device=cuda) if takes_maps else None
        batch = batch._replace(case_weights=torch.empty(BATCH, device=cuda), voxel_weights=voxels)
    seen = pytest.raises(DataDependentOutputException) if loss in WAITS else nullcontext()
    with seen:
        trained(plan, cuda, torch.bfloat16, batch, tmp_path)


@pytest.mark.parametrize("where", ["cuda", "cpu"], ids=["resident", "streamed"])
@pytest.mark.parametrize("partly", [False, True], ids=["all labels", "partial labels"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_batches_are_made_and_augmented_on_the_device(
    cuda: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, partly: bool, dimensions: int
) -> None:
    """Where patches lie is drawn on the host, from values that are not there here."""
    angle = Draw(0, (2, 2, 2), np.array([[0.9, 0.1, 0.0], [-0.1, 0.9, 0.0], [0.0, 0.0, 1.1]]), (True, False, True))
    draws = {0: angle, 1: Draw(1, (-3, 2, 8), None, (False, True, True))}  # rotated; and copied, beyond the volume
    monkeypatch.setattr(Sampler, "draw", lambda sampler, random, number: draws[number])
    plan = plan_of(dimensions)
    batches = Batches(samples(where, partly), plan.configuration("main"), plan.training, cuda)
    for step in range(4):
        batch = batches.make(step)
        assert {tensor.device.type for tensor in batch if isinstance(tensor, torch.Tensor)} == {"cuda"}
        assert batch.image.shape == (BATCH, 1, *[PATCH] * dimensions)
    trained(plan, cuda, torch.float16, batch, tmp_path)


def test_a_wait_for_the_device_would_be_seen(cuda: torch.device) -> None:
    """The tests of this folder mean something: what asks for a number fails, and so do two devices that meet."""
    with pytest.raises(Exception, match=r"item|_local_scalar_dense"):
        float(torch.empty((), device=cuda))
    with pytest.raises(Exception, match="device"):
        torch.empty(2, device=cuda) + torch.empty(2)
