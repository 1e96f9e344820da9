"""The loss that validations measure: of the network to predict with, with the weights of voxels and cases."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_plan, make_sample, network_values

from medseg.core.labels import IGNORE
from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch, Batches
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.trainer import Trainer

CPU = torch.device("cpu")


def plan_of(ignore: int | None = None) -> Plan:
    configuration = {"patch_voxels": [16, 16], "network": network_values(2, 2), "normalization": [{"scheme": "none"}]}
    return make_plan(2, configuration, labels={"structures": {"one": 1, "two": 2}, "ignore": ignore})


def sample_of() -> Sample:
    label = np.zeros((1, 16, 16), int)
    label[:, 2:9, 2:9], label[:, 10:14, 6:14] = 1, 2
    return make_sample(label + np.random.default_rng(0).normal(size=label.shape), label)


def trainer_of(plan: Plan, folder: Path) -> Trainer:
    torch.manual_seed(0)
    setup = Setup(plan, plan.configuration("main"), Course.over(5), CPU, torch.float32, FoldFolder(folder))
    return Trainer(make_network(plan, plan.configuration("main")), setup)


def test_voxels_of_weight_zero_count_as_ignored_ones(tmp_path: Path) -> None:
    plan = plan_of()
    batch = Batches([sample_of()], plan.configuration("main"), plan.training, CPU).make(0)
    inside = torch.zeros(batch.target.shape)
    inside[:, :9, :9] = 1
    target = torch.where(inside == 0, IGNORE, batch.target).to(batch.target.dtype)
    weighed = trainer_of(plan, tmp_path).validation_loss(batch._replace(voxel_weights=inside))
    ignoring = trainer_of(plan_of(ignore=9), tmp_path).validation_loss(batch._replace(target=target))
    assert weighed == pytest.approx(ignoring, rel=1e-5)
    assert weighed != pytest.approx(trainer_of(plan, tmp_path).validation_loss(batch), rel=1e-3)


def test_batches_of_validation_cases_have_their_maps_and_weights(tmp_path: Path) -> None:
    """A map of 1 changes nothing but how cases are drawn from then on; a case that counts half has half the loss."""
    plan, sample = plan_of(), sample_of()
    trainer = trainer_of(plan, tmp_path)

    def batch_of(of: Sample) -> Batch:
        return Batches([of], plan.configuration("main"), plan.training, CPU).make(0)

    mapped = batch_of(replace(sample, weight_offsets=torch.full(sample.image.shape[1:], 2.0)))
    assert mapped.voxel_weights is not None
    assert mapped.voxel_weights.max() == 3
    of_loss, of_weighed = (
        trainer.validation_loss(mapped._replace(voxel_weights=weights)) for weights in (None, mapped.voxel_weights)
    )
    assert of_weighed != of_loss
    half = replace(sample, case=replace(sample.case, loss_weight=0.5))
    assert trainer.validation_loss(batch_of(half)) == pytest.approx(
        0.5 * trainer.validation_loss(batch_of(sample)), rel=1e-5
    )
