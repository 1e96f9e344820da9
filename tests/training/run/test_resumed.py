"""A run that was stopped, killed or finished goes on as if it had not been."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_plan, network_values
from learning.small_runs import (
    EVERYTHING,
    RECIPES,
    blob_samples,
    new_network,
    no_validation,
    plan_of,
    run,
    setup_of,
)
from learning.weights import assert_same_weights

from medseg.core.errors import Cancelled, MedsegError, ModelError
from medseg.core.progress import Progress, silent
from medseg.models.run_files import CHECKPOINT, FoldFolder
from medseg.training.data.batches import Batch, Batches
from medseg.training.run import fit as fit_module
from medseg.training.run.checkpoint import load_checkpoint, save_checkpoint
from medseg.training.run.fit import fit
from medseg.training.run.log import read_log


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dimensions: int, recipe: str
) -> None:
    plan, samples = plan_of(dimensions, **RECIPES[recipe], **EVERYTHING), blob_samples((4, 32, 32))
    undisturbed = run(plan, samples, tmp_path / "a", 24)
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)  # after every step

    def stop(event: Progress) -> None:
        if event.done == 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(plan, samples, tmp_path / "b", 24, stop)
    assert load_checkpoint(tmp_path / "b" / CHECKPOINT)["step"] == 20
    resumed = run(plan, samples, tmp_path / "b", 24, resume=True)
    assert_same_weights(undisturbed, resumed)
    logs = [[(record["step"], record["loss"]) for record in read_log(tmp_path / name / "log.jsonl")] for name in "ab"]
    assert [step for step, _ in logs[0]] == [step for step, _ in logs[1]] == [10, 20, 24]
    # the losses of the steps before the stop that had not been logged are gone; nothing else is
    assert logs[0][0] == logs[1][0]
    assert logs[0][2] == logs[1][2]


def test_the_mean_loss_in_the_log_is_that_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, samples = plan_of(2), blob_samples((1, 40, 40))

    def figures(folder: Path) -> list[Any]:
        return [(entry["step"], entry["loss"]) for entry in read_log(FoldFolder(folder).log)]

    run(plan, samples, tmp_path / "a", 20)
    made = Batches.make

    def make(self: Batches, step: int, *more: Any, **options: Any) -> Batch:
        if step == 14:
            raise MedsegError("stopped in the middle of ten steps")
        return made(self, step, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "make", make)
        with pytest.raises(MedsegError, match="in the middle"):
            run(plan, samples, tmp_path / "b", 20)
    assert load_checkpoint(tmp_path / "b" / CHECKPOINT)["step"] == 14
    run(plan, samples, tmp_path / "b", 20, resume=True)
    assert figures(tmp_path / "a") == figures(tmp_path / "b")


def test_a_finished_run_can_be_resumed_to_no_effect(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    first = run(plan, samples, tmp_path, 5)
    log = read_log(tmp_path / "log.jsonl")
    assert_same_weights(first, run(plan, samples, tmp_path, 5, resume=True))
    assert read_log(tmp_path / "log.jsonl") == log


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    run(plan, samples, tmp_path, 3)
    with pytest.raises(ModelError, match=r"The checkpoint of step 3 belongs to another run than that of 4 steps"):
        run(plan, samples, tmp_path, 4, resume=True)
    other = make_plan(2, {"network": network_values(2, 2), "patch_voxels": [32, 32]})
    with pytest.raises(ModelError, match="does not fit the plan"):
        run(other, samples, tmp_path, 3, resume=True)
    old = load_checkpoint(tmp_path / CHECKPOINT)
    del old["progress"]
    save_checkpoint(tmp_path / CHECKPOINT, old)
    with pytest.raises(ModelError, match=r"has no progress: another medseg version wrote it"):
        run(plan, samples, tmp_path, 3, resume=True)
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ModelError, match="cannot be read"):
        run(plan, samples, tmp_path, 3, resume=True)


def test_a_run_without_a_checkpoint_starts_from_its_first_step(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    assert_same_weights(run(plan, samples, tmp_path / "a", 3), run(plan, samples, tmp_path / "b", 3, resume=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_last_step(tmp_path: Path, number: signal.Signals) -> None:
    plan, samples = plan_of(2, **RECIPES["muon"]), blob_samples((2, 32, 32))
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    network = new_network(plan)
    passes: list[int] = []

    def interrupt(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 7:
            signal.getsignal(number)(number, None)  # in the middle of the seventh step, as a signal would

    network.register_forward_hook(interrupt)
    with pytest.raises(MedsegError, match=r"Stopped after step 7; 13 of 20 steps are left") as caught:
        fit(network, samples, setup_of(plan, tmp_path, 20), no_validation, silent)
    assert "--resume" in str(caught.value)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 7
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert_same_weights(run(plan, samples, tmp_path, 20, resume=True), run(plan, samples, tmp_path / "undisturbed", 20))


def test_a_validation_that_was_cut_short_is_made_up_for(tmp_path: Path) -> None:
    plan, samples = plan_of(2, validations=2), blob_samples((2, 32, 32))
    calls: list[int] = []

    def validate(network: torch.nn.Module) -> dict[str, float | None]:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"one": 0.5}

    with pytest.raises(MedsegError, match="Stopped after step 10"):
        fit(new_network(plan), samples, setup_of(plan, tmp_path, 20), validate, silent)
    events: list[Progress] = []
    fit(new_network(plan), samples, setup_of(plan, tmp_path, 20), validate, events.append, resume=True)
    assert len(calls) == 2
    assert [(record["kind"], record["step"]) for record in read_log(tmp_path / "log.jsonl")] == [
        ("train", 10),
        ("validation", 10),
        ("train", 20),
    ]
    assert [(event.done, "validation" in event.info) for event in events] == [(10, False), (10, True), (20, False)]


def test_time_goes_on_where_it_was_left(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    setup = replace(setup_of(plan, tmp_path, 10), clock=lambda: 5000.0)
    start_time = 5000.0 - 1000.0  # what a caller says who has read 1000 s from the checkpoint
    fit(new_network(plan), samples, setup, no_validation, silent, start_time=start_time)
    assert read_log(tmp_path / "log.jsonl")[0]["seconds"] == 1000
    assert load_checkpoint(tmp_path / CHECKPOINT)["seconds"] == 1000


def test_a_finished_run_goes_on_with_a_new_schedule(tmp_path: Path) -> None:
    plan, samples = plan_of(2, **RECIPES["adamw"]), blob_samples((2, 32, 32))
    run(plan, samples, tmp_path, 10)
    setup = setup_of(plan, tmp_path, 10)
    longer = replace(setup, course=setup.course.extended(20))
    fit(new_network(plan), samples, longer, no_validation, silent, resume=True)
    log = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in log] == [10, 20, 30]
    fresh = setup_of(plan, tmp_path, 20)
    rates = [fresh.learning_rate(9), fresh.learning_rate(19)]  # as those of a run of 20 steps
    assert [record["learning_rate"] for record in log[1:]] == pytest.approx(rates)
