"""The time of a step is measured on a copy, after the first steps and not for longer than needed."""

from pathlib import Path

import pytest
from learning.small_runs import blob_samples, new_network, plan_of, setup_of
from learning.timed_machine import Machine
from learning.weights import assert_same_weights

from medseg.training.length.measure import measured_step_seconds


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_the_speed_is_measured_on_a_copy(tmp_path: Path, steps: int) -> None:
    plan = plan_of(2)
    network = new_network(plan)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert measured_step_seconds(network, blob_samples((2, 32, 32)), setup_of(plan, tmp_path, steps), 0.01) > 0
    assert_same_weights(before, network.state_dict())
    assert list(tmp_path.iterdir()) == []


def test_the_first_steps_are_not_measured(tmp_path: Path) -> None:
    machine = Machine(tmp_path, step_seconds=[(0, 9.0), (3, 0.5)])
    assert measured_step_seconds(machine.network, machine.samples, machine.setup, seconds=3.0) == 0.5
    assert machine.steps == 3 + 5 - 1, "long enough after the first ones, but five times are needed, and have four gaps"


def test_quick_steps_are_measured_for_a_while(tmp_path: Path) -> None:
    machine = Machine(tmp_path, step_seconds=[(0, 0.125)])
    assert measured_step_seconds(machine.network, machine.samples, machine.setup, seconds=3.0) == 0.125
    assert machine.seconds == 3.125
