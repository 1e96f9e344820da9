"""What cannot be trained is refused before any work is done."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from builders import make_plan, make_training
from torch import nn

from medseg.core.errors import PlanError
from medseg.models.model import make_network
from medseg.plans.schema import Plan
from medseg.training.losses.table import LOSSES, register_loss
from medseg.training.step.rehearsal import rehearse


def rehearsed(plan: Plan, make: Callable[[], nn.Module] | None = None) -> None:
    configuration = plan.configuration("main")
    factory = None if make is None else lambda configuration, channels, outputs: make()
    rehearse(make_network(plan, configuration, factory), plan, configuration, False)


@pytest.fixture
def plan() -> Plan:
    return make_plan(2)


@pytest.fixture
def pixelwise() -> Iterator[str]:
    """The name of a loss that forgets to take a mean."""
    register_loss("pixelwise", lambda labels, batch_dice: lambda logits, target, annotated, weights: logits.mean(1))
    yield "pixelwise"
    del LOSSES["pixelwise"]


def test_a_plain_module_is_trained_with_deep_supervision(plan: Plan) -> None:
    rehearsed(plan, lambda: nn.Conv2d(1, 3, 1))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.Conv2d(1, 2, 1), r"returned \[\(1, 2, 16, 16\)\]; expected \[\(1, 3, 16, 16\)\]"),
        (lambda: nn.Conv2d(1, 3, 3, stride=2), r"returned \[\(1, 3, 7, 7\)\]; expected \[\(1, 3, 16, 16\)\]"),
        (lambda: nn.Conv2d(2, 3, 1), r"cannot be computed for a patch of \[16, 16\] voxels: RuntimeError: .*channels"),
    ],
)
def test_a_module_that_does_not_fit_the_plan(plan: Plan, make: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        rehearsed(plan, make)


def test_a_loss_that_is_no_number(pixelwise: str) -> None:
    with pytest.raises(PlanError, match=r"shape \(1, 16, 16\); expected a single number"):
        rehearsed(make_plan(2, training=make_training(loss=pixelwise).model_dump()))


def test_nothing_changes(plan: Plan) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> Any:
            return self.norm(self.layer(x + torch.randn_like(x)))

    configuration = plan.configuration("main")
    network = make_network(plan, configuration, lambda configuration, channels, outputs: Noisy())
    before, random = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    rehearse(network, plan, configuration, False)
    assert network.training
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_only_a_training_batch_shows_is_told() -> None:
    means = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Upsample(16))
    rehearsed(make_plan(2, {"batch_size": 2}), lambda: means)
    with pytest.raises(PlanError, match="Expected more than 1 value per channel when training"):
        rehearsed(make_plan(2, {"batch_size": 1}), lambda: means)
