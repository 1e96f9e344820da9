"""A run keeps to its budget, by a clock that the test drives: each pass through the network takes a set time."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from learning.timed_machine import Machine

from medseg.core.errors import PlanError
from medseg.core.options import parse_duration
from medseg.training.length.budget import Time, ValidationSeconds, Work, fit_to_budget, keep_to_budget
from medseg.training.length.course import Course
from medseg.training.run.log import read_log


@pytest.mark.parametrize(
    ("planned", "validations", "steps"),
    [
        # 5 s went by, measuring took 7 steps of 0.5 s, and 10 s are kept for the end: 81.5 s are left
        (4, 4, 144),  # three validations of 2 s between steps: 0.96 x 75.5 s = 72.48 s
        (1, 1, 156),  # 0.96 x 81.5 s = 78.24 s
        (50, 6, 137),  # those between steps may take a tenth of the budget, so five: 0.96 x 71.5 s = 68.64 s
    ],
)
def test_a_budget_of_100_seconds(tmp_path: Path, planned: int, validations: int, steps: int) -> None:
    machine = Machine(tmp_path, planned)
    machine.seconds = 5.0
    setup = fit_to_budget(machine.setup, machine.work(2.0, 10.0), Time(100.0, start_time=0.0))
    assert (setup.course.steps, setup.plan.training.validations) == (steps, validations)
    assert ("training.validations" in setup.plan.reasons) == (planned != validations)


def test_validations_take_the_time_of_their_loss_too(tmp_path: Path) -> None:
    """Four batches, each half of a step of 0.5 s: validations of 3 s instead of 2 s."""
    setups = []
    for each, loss_batches in ((2.0, 4), (3.0, 0)):
        machine = Machine(tmp_path, 50)
        setups.append(fit_to_budget(machine.setup, machine.work(each, 10.0, loss_batches), Time(100.0, start_time=0.0)))
    assert setups[0].course.steps == setups[1].course.steps
    assert setups[0].plan.training.validations == setups[1].plan.training.validations == 1 + int(10 / 3)


@pytest.mark.parametrize("budget", [28.0, 14.0, 1.0])
def test_too_short_a_budget_is_refused_and_the_one_that_is_named_suffices(tmp_path: Path, budget: float) -> None:
    machine = Machine(tmp_path, 1)
    machine.seconds = 5.0
    with pytest.raises(PlanError, match=r"The budget leaves \d+ s for training, and a step takes 0.50 s") as refused:
        fit_to_budget(machine.setup, machine.work(2.0, 10.0), Time(budget, start_time=0.0))
    again = Machine(tmp_path, 1)
    again.seconds = 5.0
    named = parse_duration(re.findall(r"--budget (\d+[sm])", str(refused.value.hint))[0])
    setup = fit_to_budget(again.setup, again.work(2.0, 10.0), Time(named, start_time=0.0))
    assert setup.course.steps >= 20
    if budget == 28.0:  # it was close: what is named is what it takes
        assert setup.course.steps <= 22


@pytest.mark.parametrize(
    ("budget", "step_seconds", "steps"),
    [
        (60.0, [(0, 75.0)], 1),  # the first step alone is longer than the budget
        (60.0, [(0, 50.0), (1, 0.5)], 7),  # only the first one was slow: 55 s are left
        (60.0, [(0, 6.0)], 2),  # 20 such steps take 120 s: more than twice the 55 s
        (60.0, [(0, 5.0)], 7),
        (30.0, [(0, 2.0), (3, 11.0)], 5),  # until the 25 s that are left are over
    ],
)
def test_no_more_steps_are_measured_than_a_budget_can_hold(
    tmp_path: Path, budget: float, step_seconds: list[tuple[int, float]], steps: int
) -> None:
    machine = Machine(tmp_path, 1, step_seconds)
    machine.seconds = 5.0
    validated: list[int] = []
    work = Work(machine.network, machine.samples, lambda: validated.append(1) or ValidationSeconds(0.0, 0.0))
    try:
        fit_to_budget(machine.setup, work, Time(budget, start_time=0.0))
    except PlanError:
        assert validated == [], "validations may take minutes, too"
    assert machine.steps == steps


@pytest.mark.parametrize(
    ("changes_at", "step_seconds"),
    [(0, 0.5), (50, 1.0), pytest.param(0, 0.25, marks=pytest.mark.slow), (130, 1.0), (143, 20.0)],
)
def test_a_run_keeps_to_its_budget_also_where_steps_become_slower_or_quicker(
    tmp_path: Path, changes_at: int, step_seconds: float
) -> None:
    machine = Machine(tmp_path)
    machine.seconds = 5.0
    planned = fit_to_budget(machine.setup, machine.work(2.0, 10.0), Time(100.0, start_time=0.0))
    machine.step_seconds = [(0, 0.5), (changes_at, step_seconds)]
    changes = []
    machine.train(replace(planned, announce=lambda setup, change: changes.append(change)), validation_seconds=2.0)
    # the scores of the end take 10 s of the 100; a look every ten steps may be late by ten of them, and from there on
    # the run makes twenty to come to the end of its schedule. It stays where it misses its time by 1 % only.
    unforeseen = 0.0 if changes_at < 100 else 20 * step_seconds
    assert machine.seconds <= 90 + 0.01 * 81.5 + unforeseen
    assert bool(changes) == (step_seconds not in (0.5, 20.0)) or changes_at >= 100
    if changes_at < 100:
        assert machine.seconds > 90 - 0.1 * 81.5 - step_seconds, "most of its time is used"
    last = read_log(tmp_path / "log.jsonl")[-1]
    assert last["step"] == machine.steps == (changes[-1].new if changes else 144)
    assert last["learning_rate"] < 0.04 * 0.01, "the schedule comes to its end in any case"


def test_a_run_that_goes_on_has_what_is_left_of_its_budget(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    setup = replace(machine.setup, course=Course.over(144))
    for used, steps in ((40.0, 144), (60.0, 120), (95.0, 92)):
        machine.seconds, machine.steps = 1000.0 + used, 0
        # 72 steps are done, half of the schedule: one of three validations is to come. Measuring takes 3.5 s, the end
        # 10 s. Of 100 s are left, after 60 s: 24.5 s, for 0.98 x 24.5 / 0.5 = 48 more; after 95 s nothing, so twenty.
        kept = keep_to_budget(setup, machine.work(2.0, 10.0), Time(100.0, start_time=1000.0), done=72)
        assert kept.course.steps == steps, used
