"""Steps on buffers that stay where they are; the recording needs a CUDA device (`benchmarks/training/gpu_train.py`)."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rank_problem import plan_of, samples

from medseg.models.model import make_network
from medseg.models.run_files import FoldFolder
from medseg.networks.cuda_graph import WARM_UP_STEPS
from medseg.training.data.batches import Batches
from medseg.training.length.course import Course
from medseg.training.run.setup import Setup
from medseg.training.step.graph import Recorded, make_capturable
from medseg.training.step.optimizer import make_optimizer, set_learning_rate
from medseg.training.step.trainer import Trainer


class Repeater:
    """Repeats a step as a graph does: on the tensors that it was recorded with, into the answer that it gave then."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.ran = self.recorded = self.replayed = 0

    def run(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        self.ran += 1
        return step()

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        self.recorded += 1
        answer = torch.zeros(())

        def replay() -> None:
            self.replayed += 1
            answer.copy_(step())

        return replay, answer


def step_of(seen: list[int]) -> Callable[..., torch.Tensor]:
    def step(image: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor | None) -> torch.Tensor:
        seen.append(image.data_ptr())
        return image.sum() + 10 * target.sum() + (0 if annotated is None else 100 * annotated.sum())

    return step


def test_real_steps_first_then_the_recording_for_each_batch() -> None:
    seen: list[int] = []
    repeater = Repeater()
    recorded = Recorded(step_of(seen), repeater)
    batches = [(torch.full((2,), float(n)), torch.full((2,), n), torch.tensor([n % 2 == 0])) for n in range(7)]
    answers = [recorded(*batch) for batch in batches]
    assert [float(one) for one in answers] == [2 * n + 20 * n + 100 * (n % 2 == 0) for n in range(7)]
    assert (repeater.ran, repeater.recorded, repeater.replayed) == (WARM_UP_STEPS, 1, 7 - WARM_UP_STEPS)
    assert len(set(seen[WARM_UP_STEPS:])) == 1  # always in the same place
    assert seen[-1] not in {batch[0].data_ptr() for batch in batches}
    assert recorded.note is None


def test_other_shapes_are_recorded_anew() -> None:
    repeater = Repeater()
    recorded = Recorded(step_of([]), repeater)
    for size in (2, 3):
        for _ in range(WARM_UP_STEPS + 2):
            assert float(recorded(torch.ones(size), torch.ones(size), None)) == 11 * size
    assert (repeater.ran, repeater.recorded) == (2 * WARM_UP_STEPS, 2)


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so() -> None:
    recorded = Recorded(step_of([]), Repeater(fails=True))
    assert [float(recorded(torch.ones(1), torch.ones(1), None)) for _ in range(6)] == [11.0] * 6
    assert recorded.note == (
        "the step could not be recorded as a CUDA graph and runs without: "
        "operation not permitted when stream is capturing"
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_learning_rate_stays_where_a_recorded_step_reads_it(optimizer: str) -> None:
    training = plan_of(True).training.model_copy(update={"optimizer": optimizer})
    network, twin = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    twin.load_state_dict(network.state_dict())
    plain, capturable = make_optimizer(network, training), make_optimizer(twin, training)
    make_capturable(capturable, torch.device("cpu"))
    capturable.param_groups[0]["capturable"] = False  # a CPU has nothing to capture with
    address = capturable.param_groups[0]["lr"].data_ptr()
    for rate in (0.1, 0.03):
        for one, model in ((plain, network), (capturable, twin)):
            set_learning_rate(one, rate)
            model(torch.ones(1, 2)).sum().backward()
            one.step()
            one.zero_grad()
    torch.testing.assert_close(network.weight, twin.weight)
    assert capturable.param_groups[0]["lr"].data_ptr() == address


@pytest.mark.gpu
def test_a_step_asks_the_device_for_nothing(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device, plan = torch.device("cuda"), plan_of(True)
    setup = Setup(plan, plan.configuration("main"), Course.over(12), device, torch.bfloat16, FoldFolder(tmp_path))
    trainer = Trainer(make_network(plan, plan.configuration("main")), setup)
    batch = Batches(samples(), plan.configuration("main"), plan.training, device).make(0)
    trainer.step(setup, 0, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(setup, 1, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_the_same_losses_as_without(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device, curves = torch.device("cuda"), []
    for wanted in (False, True):
        plan = plan_of(True)
        plan = plan.model_copy(update={"training": plan.training.model_copy(update={"cuda_graph": wanted})})
        torch.manual_seed(0)
        setup = Setup(plan, plan.configuration("main"), Course.over(12), device, torch.float32, FoldFolder(tmp_path))
        trainer = Trainer(make_network(plan, plan.configuration("main")), setup)
        batches = Batches(samples(), plan.configuration("main"), plan.training, device)
        made = [batches.make(step) for step in range(12)]
        curves.append([float(trainer.step(setup, n, one)) for n, one in enumerate(made)])
        assert trainer.note is None
    torch.testing.assert_close(*curves, rtol=1e-4, atol=1e-4)


class Forgetful(Repeater):
    """Keeps nothing of what it records, as CUDA keeps kernels and no functions of Python."""

    def record(self, step: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        return (lambda: None), step()


def test_a_trainer_that_is_dropped_takes_its_recording_with_it(tmp_path: Path) -> None:
    """At once, and not when Python next looks for circles: a run needs the memory of the trainer that was measured."""
    plan = plan_of(True)
    setup = Setup(
        plan, plan.configuration("main"), Course.over(9), torch.device("cpu"), torch.float32, FoldFolder(tmp_path)
    )
    trainer = Trainer(make_network(plan, plan.configuration("main")), setup)
    recorded = trainer._as_graph(Forgetful())
    for group in trainer.optimizer.param_groups:
        group["capturable"] = False  # a CPU has nothing to capture with
    trainer._recorded = recorded
    batch = Batches(samples(), plan.configuration("main"), plan.training, setup.device).make(0)
    for step in range(WARM_UP_STEPS + 2):
        trainer.step(setup, step, batch)
    assert recorded.note is None
    gone, recording = weakref.ref(trainer), weakref.ref(recorded)
    gc.disable()
    try:
        del trainer, recorded
        assert gone() is None
        assert recording() is None
    finally:
        gc.enable()
