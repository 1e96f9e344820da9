"""A budget that is far too short is refused before anything is prepared."""

from __future__ import annotations

import pytest
import torch
from builders import make_plan
from torch import nn

from medseg.core.errors import PlanError
from medseg.models.model import make_network
from medseg.training.length.pace import FEWEST_STEPS
from medseg.training.length.quick_look import estimated_step_seconds, refuse_hopeless_budget

CPU = torch.device("cpu")


def test_a_part_of_a_patch_stands_for_a_step_and_the_network_stays_as_it_is() -> None:
    plan = make_plan(3, {"patch_voxels": [32, 32, 32]})
    configuration = plan.configuration("main")
    torch.manual_seed(0)
    network = make_network(plan, configuration)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    shapes: list[tuple[int, ...]] = []
    nn.Module.register_forward_pre_hook(network, lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    state = torch.random.get_rng_state()
    assert (estimated_step_seconds(network, plan, configuration, CPU) or 0) > 0
    assert {shape[:2] for shape in shapes} == {(1, len(plan.data.channels))}
    first, *counted = shapes  # the first pass prepares the libraries
    assert len(counted) > 1
    assert first[2:] == tuple(2 * unit for unit in configuration.network.divisor)
    assert set(counted).isdisjoint({first}), "it is smaller, and only larger ones count"
    for size, whole, unit in zip(
        counted[0][2:], configuration.patch_voxels, configuration.network.divisor, strict=True
    ):
        assert size % unit == 0
        assert size <= whole
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_only_budgets_that_are_far_too_short_are_refused() -> None:
    with pytest.raises(PlanError, match=r"leaves 0 s for training, and a step takes about 2.00 s") as refused:
        refuse_hopeless_budget(-1.0, 2.0)
    assert "--budget " in str(refused.value.hint)
    with pytest.raises(PlanError) as refused:
        refuse_hopeless_budget(-1.0, 2.0, "--extend")
    assert "--extend " in str(refused.value.hint)
    refuse_hopeless_budget(FEWEST_STEPS * 2.0 / 3, 2.0)  # the estimate may be three times too long


def test_networks_of_other_libraries_and_other_devices_are_not_looked_at() -> None:
    plan = make_plan()
    configuration = plan.configuration("main")
    assert estimated_step_seconds(nn.Conv3d(1, 1, 1), plan, configuration, CPU) is None
    assert estimated_step_seconds(make_network(plan, configuration), plan, configuration, torch.device("cuda")) is None
