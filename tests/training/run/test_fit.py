"""The loop, on problems of seconds: it learns, repeats, resumes, and stops when it has gone wrong."""

import inspect
import re
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_augmentation, make_plan, make_sample, make_training, network_values
from learning.weights import assert_same_weights
from scipy import ndimage

from medseg.core.errors import Cancelled, MedsegError, ModelError, Stopped
from medseg.core.labels import IGNORE, Labels
from medseg.core.progress import Progress, silent
from medseg.inference.window_pass import predict_logits
from medseg.models.model import make_network
from medseg.models.record import ChangeRecord
from medseg.models.run_files import CHECKPOINT, FoldFolder
from medseg.networks.device import choosing_algorithms
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.data.batches import Batch, Batches
from medseg.training.data.sample_placement import PlacedSamples
from medseg.training.length import pace as pace_module
from medseg.training.length.course import Course
from medseg.training.length.measure import measured_step_seconds
from medseg.training.length.pace import Pace
from medseg.training.length.steering import steps_change
from medseg.training.run import fit as fit_module
from medseg.training.run.checkpoint import load_checkpoint, on_host, save_checkpoint
from medseg.training.run.divergence import Diverged
from medseg.training.run.fit import fit
from medseg.training.run.log import read_log
from medseg.training.run.setup import Setup
from medseg.training.step.optimizer import make_optimizer
from medseg.training.step.trainer import Trainer

CPU = torch.device("cpu")


def blob_samples(shape: tuple[int, ...], count: int = 3) -> list[Sample]:
    """Noisy scans of blobs at two intensities."""
    samples = []
    for number in range(count):
        rng = np.random.default_rng(number)
        sigma = [0 if size == 1 else 3 for size in shape]
        height = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
        label = (height > np.quantile(height, 0.6)).astype(int) + (height > np.quantile(height, 0.85))
        samples.append(make_sample(label - 0.5 + 0.2 * rng.normal(size=shape), label, name=str(number)))
    return samples


def plan_of(dimensions: int, **training: Any) -> Plan:
    stages = 4 if dimensions == 2 else 3
    configuration = {
        "patch_voxels": [16] * 3 if dimensions == 3 else [32, 32],
        "network": network_values(dimensions, stages, features=[8 * 2**stage for stage in range(stages)]),
        "normalization": [{"scheme": "none"}],
    }
    return make_plan(dimensions, configuration, training=make_training(**training).model_dump())


def setup_of(plan: Plan, folder: Path, steps: int) -> Setup:
    return Setup(plan, plan.configuration("main"), Course.over(steps), CPU, torch.float32, FoldFolder(folder))


def new_network(plan: Plan, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return make_network(plan, plan.configuration("main"))


def no_validation(network: torch.nn.Module) -> dict[str, float | None]:
    return {}


def run(
    plan: Plan, samples: Sequence[Sample], folder: Path, steps: int, callback: Any = silent, resume: bool = False
) -> dict[str, torch.Tensor]:
    """Weights after a run from fresh weights."""
    best = fit(new_network(plan), samples, setup_of(plan, folder, steps), no_validation, callback, resume)
    return {name: value.clone() for name, value in best.state_dict().items()}


def dice(network: torch.nn.Module, sample: Sample, plan: Plan) -> list[float]:
    logits = predict_logits(
        [network], sample.image, plan.configuration("main"), plan.inference, torch.float32, plan.labels.outputs
    )
    answer = plan.labels.decide(logits)
    scores = []
    for value in (1, 2):
        mine, reference = answer == value, sample.label == value
        scores.append(float(2 * (mine & reference).sum() / (mine.sum() + reference.sum())))
    return scores


RECIPES = {
    "adamw": {"optimizer": "adamw", "learning_rate": 0.02, "schedule": "one_cycle"},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "poly"},
    "muon": {  # with averaged weights
        "optimizer": "muon",
        "learning_rate": 0.02,
        "schedule": "one_cycle",
        "average_weights": 0.9,
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("dimensions", "shape"), [(2, (3, 32, 32)), (3, (16, 16, 16))])
def test_a_small_problem_is_learnt(tmp_path: Path, dimensions: int, shape: tuple[int, ...], recipe: str) -> None:
    plan, samples = plan_of(dimensions, **RECIPES[recipe]), blob_samples(shape)
    network = new_network(plan)
    best = fit(network, samples, setup_of(plan, tmp_path, 60), no_validation, silent)
    assert (best is network) == (recipe != "muon")
    scores = np.array([dice(best, sample, plan) for sample in samples])
    assert scores.mean() > 0.9
    losses = [record["loss"] for record in read_log(tmp_path / "log.jsonl")]
    assert losses[-1] < losses[0] - 0.5


def with_gaps(samples: list[Sample]) -> list[Sample]:
    """One slice in eight annotated along the second axis, and where its voxels are."""
    sparse = []
    for sample in samples:
        label = torch.full_like(sample.label, IGNORE)
        label[:, 1::8] = sample.label[:, 1::8]
        places = [(label.flatten() == value).nonzero()[:, 0] for value in (1, 2)]
        known = (label.flatten() != IGNORE).nonzero()[:, 0]
        sparse.append(replace(sample, label=label, locations=tuple(places), annotated=known))
    return sparse


def without_second(samples: list[Sample], say_so: bool) -> list[Sample]:
    """The second structure erased from all samples but the first."""
    partly = [samples[0]]
    for sample in samples[1:]:
        label = sample.label.masked_fill(sample.label == 2, 0)
        places = (sample.locations[0], sample.locations[1][:0])
        known = torch.tensor([True, False]) if say_so else None
        partly.append(replace(sample, label=label, locations=places, structures=known))
    return partly


@pytest.mark.slow
def test_an_eighth_of_the_voxels_teaches_nearly_as_well(tmp_path: Path) -> None:
    plan, samples = plan_of(3, **RECIPES["adamw"]), blob_samples((24, 24, 24))
    found = {}
    for name, data in (("all", samples), ("eighth", with_gaps(samples))):
        best = fit(new_network(plan), data, setup_of(plan, tmp_path / name, 60), no_validation, silent)
        found[name] = np.mean([dice(best, sample, plan) for sample in samples])
    assert found["eighth"] > found["all"] - 0.08 > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_structure_is_learnt_from_the_cases_in_which_it_was_annotated(tmp_path: Path, activation: str) -> None:
    plan, samples = plan_of(3, **RECIPES["adamw"]), blob_samples((16, 16, 16))
    labels = Labels(structures={"one": 1, "two": 2}, activation=activation)
    plan = plan.model_copy(update={"labels": labels})
    found = {}
    for say_so in (True, False):
        data = without_second(samples, say_so)
        best = fit(new_network(plan), data, setup_of(plan, tmp_path / str(say_so), 60), no_validation, silent)
        found[say_so] = np.mean([dice(best, sample, plan) for sample in samples], axis=0)
    assert found[True].min() > 0.85
    assert found[False][1] < found[True][1] - 0.2


EVERYTHING = {
    "augmentation": make_augmentation(
        rotation_probability=0.5, noise_probability=0.5, gamma_probability=0.5, low_resolution_probability=0.5
    ).model_dump()
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_seed_gives_one_result(tmp_path: Path, dimensions: int, recipe: str) -> None:
    plan, samples = plan_of(dimensions, **RECIPES[recipe], **EVERYTHING), blob_samples((4, 32, 32))
    first = run(plan, samples, tmp_path / "a", 4)
    assert_same_weights(first, run(plan, samples, tmp_path / "b", 4))
    other = plan_of(dimensions, **RECIPES[recipe], **EVERYTHING, seed=1)
    last = f"heads.{len(plan.configuration('main').network.features) - 2}.bias"
    assert not torch.equal(first[last], run(other, samples, tmp_path / "c", 4)[last])


def test_one_seed_gives_one_result_on_several_threads(tmp_path: Path) -> None:
    plan, samples = plan_of(3, **RECIPES["adamw"], **EVERYTHING), blob_samples((16, 16, 16))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_same_weights(run(plan, samples, tmp_path / "a", 2), run(plan, samples, tmp_path / "b", 2))
    finally:
        torch.set_num_threads(before)


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


def test_weights_that_are_no_longer_numbers_reach_no_checkpoint(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    network = new_network(plan)

    def spoil(event: Progress) -> None:
        if event.done == 20:
            network.get_parameter("heads.0.bias").data.fill_(float("nan"))

    with pytest.raises(Diverged, match=r"The weights are no longer numbers after step 20"):
        fit(network, samples, setup_of(plan, tmp_path, 20), no_validation, spoil)
    assert not (tmp_path / CHECKPOINT).exists()


def test_memory_that_runs_out_names_the_keys_to_lower(tmp_path: Path) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    folder = tmp_path / "main" / "fold_0"
    network = new_network(plan)

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    network.register_forward_hook(fail)
    with pytest.raises(MedsegError, match=r"not enough memory: CUDA out of memory") as caught:
        fit(network, samples, setup_of(plan, folder, 5), no_validation, silent)
    hint = caught.value.hint or ""
    assert "configurations.main.batch_size (now 2)" in hint
    assert "configurations.main.patch_voxels (now [32, 32])" in hint
    assert "configurations.main.network.features (now [8, 16, 32, 64])" in hint
    assert "--memory" in hint


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_SECONDS", -1.0)
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event: Progress) -> None:
        if event.done == 10:  # files may grow to half a checkpoint, as on a disk that fills up while one is written
            while not (tmp_path / CHECKPOINT).exists():  # the thread that writes the first one has its own pace
                time.sleep(0.01)
            size = (tmp_path / CHECKPOINT).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))

    try:
        with pytest.raises(
            MedsegError, match=r"checkpoint\.pt could not be written: only a part of the file was written"
        ) as caught:
            run(plan, samples, tmp_path, 40, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "Free some space" in str(caught.value)
    assert 0 < load_checkpoint(tmp_path / CHECKPOINT)["step"] <= 12
    assert [path.name for path in sorted(tmp_path.iterdir())] == [CHECKPOINT, "log.jsonl"]
    assert_same_weights(run(plan, samples, tmp_path, 40, resume=True), run(plan, samples, tmp_path / "undisturbed", 40))


def test_a_batch_that_cannot_be_made_ends_the_run_and_keeps_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, samples = plan_of(2), blob_samples((2, 32, 32))
    made = Batches.make

    def make(self: Batches, step: int, *others: Any) -> Batch:
        if step == 13:
            raise FileNotFoundError(2, "No such file or directory", "cache/toy/case.safetensors")
        return made(self, step, *others)

    monkeypatch.setattr(Batches, "make", make)
    with pytest.raises(MedsegError, match=r"A batch could not be made: FileNotFoundError.*case\.safetensors"):
        run(plan, samples, tmp_path, 20)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 13
    monkeypatch.undo()
    assert_same_weights(run(plan, samples, tmp_path, 20, resume=True), run(plan, samples, tmp_path / "undisturbed", 20))


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


def test_settings_of_the_optimizer_are_the_plans_also_after_a_restart(tmp_path: Path) -> None:
    samples = blob_samples((2, 32, 32))
    setup = setup_of(plan_of(2, optimizer="sgd", momentum=0.5), tmp_path, 10)
    trainer = Trainer(new_network(setup.plan), setup)
    trainer.step(setup, 0, Batch(samples[0].image[:, :1].repeat(2, 1, 1, 1), samples[0].label[:1].repeat(2, 1, 1)))
    changed = setup_of(plan_of(2, optimizer="sgd", momentum=0.8, weight_decay=0.1), tmp_path, 10)
    other = Trainer(new_network(changed.plan), changed)
    assert other.restore(changed, trainer.state(setup, 1)) == 1
    assert other.optimizer.param_groups[0]["momentum"] == 0.8
    assert other.optimizer.param_groups[0]["weight_decay"] == 0.1


def test_progress_and_log_say_what_happens(tmp_path: Path) -> None:
    plan = plan_of(2, validations=3)
    calls: list[bool] = []

    def validate(network: torch.nn.Module) -> dict[str, float | None]:
        calls.append(network.training)
        return {"one": 0.25, "two": None}

    events: list[Progress] = []
    fit(new_network(plan), blob_samples((2, 32, 32)), setup_of(plan, tmp_path, 25), validate, events.append)
    validations = [event for event in events if "validation" in event.info]
    assert [(event.done, event.info["validation"]["dice"]) for event in validations] == [
        (step, {"one": 0.25, "two": None}) for step in (9, 17)
    ]
    events = [event for event in events if event not in validations]
    assert [(event.stage, event.done, event.total) for event in events] == [("train", n, 25) for n in (0, 10, 20, 25)]
    assert [event.info["one"] for event in events[1:]] == [0.25] * 3  # the last validation was before each of them
    assert events[-1].info["steps_per_second"] > 0
    log = read_log(tmp_path / "log.jsonl")
    # 3 validations: after steps 9 and 17, and the last one, of the finished model, is the caller's
    assert [(record["kind"], record["step"]) for record in log] == [
        ("validation", 9),
        ("train", 10),
        ("validation", 17),
        ("train", 20),
        ("train", 25),
    ]
    assert len(calls) == 2
    assert log[0]["dice"] == {"one": 0.25, "two": None}
    assert log[1]["learning_rate"] == pytest.approx(0.01 * (1 - 9 / 25) ** 0.9)


def test_an_error_of_the_validation_is_not_swallowed_and_keeps_the_log(tmp_path: Path) -> None:
    def validate(network: torch.nn.Module) -> dict[str, float | None]:
        raise ZeroDivisionError

    plan = plan_of(2, validations=2)
    with pytest.raises(ZeroDivisionError):
        fit(new_network(plan), blob_samples((2, 32, 32)), setup_of(plan, tmp_path, 20), validate, silent)
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [10]


@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_the_speed_is_measured_on_a_copy(tmp_path: Path, steps: int) -> None:
    plan = plan_of(2)
    network = new_network(plan)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert measured_step_seconds(network, blob_samples((2, 32, 32)), setup_of(plan, tmp_path, steps), 0.01) > 0
    assert_same_weights(before, network.state_dict())
    assert list(tmp_path.iterdir()) == []


def test_one_step_of_sgd_by_hand(tmp_path: Path) -> None:
    plan = plan_of(2, optimizer="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.01, gradient_clip=0.3)
    network = new_network(plan)
    before = {name: value.clone() for name, value in network.named_parameters()}
    setup = setup_of(plan, tmp_path, 10)
    trainer = Trainer(network, setup)
    image, target = torch.randn(2, 1, 32, 32), torch.randint(0, 3, (2, 32, 32), dtype=torch.int16)
    loss = trainer.loss(network(image, 2), target)
    gradients = dict(zip(before, torch.autograd.grad(loss, list(network.parameters()), allow_unused=True), strict=True))
    norm = torch.stack([gradient.norm() for gradient in gradients.values() if gradient is not None]).norm()
    assert norm > 0.3  # so that clipping shows
    torch.testing.assert_close(trainer.step(setup, 4, Batch(image, target)), loss.detach())
    rate = 0.1 * 0.6**0.9
    for name, value in network.named_parameters():
        gradient = gradients[name]
        if gradient is None:  # the head of the level that is not supervised
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
            continue
        # Nesterov's first step: gradient + momentum * gradient
        change = rate * 1.5 * (gradient * 0.3 / norm + 0.01 * before[name])
        torch.testing.assert_close(value, before[name] - change, rtol=1e-4, atol=1e-6)


def test_averaged_weights_by_hand(tmp_path: Path) -> None:
    plan = plan_of(2, average_weights=0.5)
    network = new_network(plan)
    setup = setup_of(plan, tmp_path, 10)
    trainer = Trainer(network, setup)
    expected = network.get_parameter("heads.2.bias").detach().clone()
    for step, decay in ((0, 0.1), (1, 2 / 11), (9, 0.5)):  # (1 + step) / (10 + step), at most the plan's
        target = torch.randint(0, 3, (2, 32, 32), dtype=torch.int16)
        trainer.step(setup, step, Batch(torch.randn(2, 1, 32, 32), target))
        expected = decay * expected + (1 - decay) * network.get_parameter("heads.2.bias").detach()
        torch.testing.assert_close(trainer.best.get_parameter("heads.2.bias"), expected)
        assert not torch.equal(expected, network.get_parameter("heads.2.bias"))
    assert trainer.best is not network


def test_optimizers_follow_the_plan() -> None:
    network = torch.nn.Linear(2, 2)
    sgd = make_optimizer(network, make_training(optimizer="sgd", momentum=0.99, weight_decay=3e-5, learning_rate=0.01))
    assert isinstance(sgd, torch.optim.SGD)
    settings = sgd.param_groups[0]
    assert (settings["lr"], settings["momentum"], settings["weight_decay"], settings["nesterov"]) == (
        0.01,
        0.99,
        3e-5,
        True,
    )
    plain = make_optimizer(network, make_training(optimizer="sgd", momentum=0.0))
    assert not plain.param_groups[0]["nesterov"]
    adamw = make_optimizer(network, make_training(optimizer="adamw", weight_decay=0.02, learning_rate=0.003))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.param_groups[0]["lr"], adamw.param_groups[0]["weight_decay"]) == (0.003, 0.02)


def in_time(setup: Setup, pace: Pace) -> Setup:
    return replace(setup, course=replace(setup.course, pace=pace))


def test_a_run_whose_time_is_up_comes_to_its_end_and_goes_on_there_after_a_kill(tmp_path: Path) -> None:
    plan, samples = plan_of(2, **RECIPES["adamw"]), blob_samples((2, 32, 32))
    told: list[tuple[Setup, ChangeRecord]] = []

    def start(folder: Path, **more: Any) -> Setup:
        setup = in_time(setup_of(plan, folder, 200), Pace(1.0, until_seconds=0.0))
        return replace(setup, announce=lambda *change: told.append(change), **more)

    events: list[Progress] = []
    best = fit(new_network(plan), samples, start(tmp_path / "whole"), no_validation, events.append)
    assert told[0][1] == steps_change(20, 200, 40, "to keep to the budget")
    assert [record["step"] for record in read_log(tmp_path / "whole" / "log.jsonl")] == [10, 20, 30, 40]
    assert "40 steps instead of 200; from step 20 on" in str([event.info.get("note") for event in events])
    last = read_log(tmp_path / "whole" / "log.jsonl")[-1]["learning_rate"]
    assert last == pytest.approx(told[0][0].learning_rate(39))
    assert last < 0.01 * 0.02

    def kill(event: Progress) -> None:
        if event.done == 30:
            raise KeyboardInterrupt

    with pytest.raises(MedsegError, match="Stopped after step 30; 10 of 40 steps are left"):
        fit(new_network(plan), samples, start(tmp_path / "parts"), no_validation, kill)
    changed = told[-1][0]
    resumed = replace(changed, course=replace(changed.course, pace=None))
    again = fit(new_network(plan), samples, resumed, no_validation, silent, resume=True)
    assert_same_weights(again.state_dict(), best.state_dict())


@pytest.mark.parametrize("validations", [1, 50])
def test_a_run_that_is_quicker_than_measured_is_given_more_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validations: int
) -> None:
    monkeypatch.setattr(pace_module, "_LEAST_WATCHED_SHARE", 0.0)  # so that the test takes no time
    plan = plan_of(2, validations=validations)
    told: list[ChangeRecord] = []
    pace = Pace(1e6, until_seconds=2e8)

    def enough(event: Progress) -> None:
        if told:
            raise KeyboardInterrupt

    setup = in_time(setup_of(plan, tmp_path, 200), pace)
    setup = replace(setup, announce=lambda new, change: told.append(change))
    with pytest.raises(MedsegError, match="Stopped after step 20;"):
        fit(new_network(plan), blob_samples((2, 32, 32)), setup, no_validation, enough)
    assert told[0].new > 10_000


def test_a_run_whose_time_is_up_is_not_validated_on_the_way(tmp_path: Path) -> None:
    plan = plan_of(2, validations=10)
    setup = in_time(setup_of(plan, tmp_path, 100), Pace(1.0, until_seconds=0.0))
    fit(new_network(plan), blob_samples((2, 32, 32)), setup, no_validation, silent)
    log = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in log if record["kind"] == "train"] == [10, 20, 30, 40]
    assert not [record for record in log if record["kind"] == "validation"]


def test_a_run_whose_scores_stand_still_ends_with_a_quarter_more_steps(tmp_path: Path) -> None:
    plan, samples = plan_of(2, patience=2, validations=10), blob_samples((2, 32, 32))
    told: list[tuple[Setup, ChangeRecord]] = []
    setup = replace(setup_of(plan, tmp_path, 400), announce=lambda *change: told.append(change))
    scores = iter([0.5, 0.6, 0.6005, 0.55, *[0.6] * 9])
    fit(new_network(plan), samples, setup, lambda network: {"one": next(scores)}, silent)
    assert [change for _, change in told] == [steps_change(160, 400, 200, "no better Dice in 2 validations")]
    assert told[0][0].course.ended_early
    log = read_log(tmp_path / "log.jsonl")
    assert log[-1]["step"] == 200
    assert log[-1]["learning_rate"] < log[15]["learning_rate"] / 10


def test_scores_of_before_an_extension_say_nothing(tmp_path: Path) -> None:
    plan, samples = plan_of(2, patience=1, validations=4), blob_samples((2, 32, 32))
    fit(new_network(plan), samples, setup_of(plan, tmp_path, 8), lambda network: {"one": 0.5}, silent)
    longer = replace(setup_of(plan, tmp_path, 8), course=Course.over(8).extended(40))
    scores = iter([0.4, 0.45, 0.5])
    fit(new_network(plan), samples, longer, lambda network: {"one": next(scores)}, silent, resume=True)
    assert next(scores, None) is None, "all three validations took place"


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


def in_a_batch() -> bool:
    """Whether a batch is being made further up, and not the list of what there is to draw from."""
    return any(frame.function == "make" for frame in inspect.stack(0))


class ShortSamples(PlacedSamples):
    """Cases on a device that is full once some have been read."""

    reads = 0

    def __getitem__(self, index: Any) -> Any:
        self.reads += isinstance(index, int) and in_a_batch()
        if self.reads > 9 and self.note is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().__getitem__(index)


@pytest.mark.parametrize("where", ["step", "batch"])
def test_cases_leave_the_gpu_when_memory_runs_out_and_the_run_goes_on(tmp_path: Path, where: str) -> None:
    """With the same weights in the end; here both places are the host's memory."""
    plan, network, events = plan_of(2), new_network(plan_of(2)), []
    make = ShortSamples if where == "batch" else PlacedSamples
    placed = make(blob_samples((2, 32, 32)), blob_samples((2, 32, 32)))
    passes = 0

    def full(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 3 and placed.note is None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    if where == "step":
        network.register_forward_hook(full)
    best = fit(network, placed, setup_of(plan, tmp_path / "short", 6), no_validation, events.append)
    assert_same_weights(run(plan, blob_samples((2, 32, 32)), tmp_path / "enough", 6), dict(best.state_dict()))
    notes = [str(event.info["note"]) for event in events if "note" in event.info]
    assert notes[-1].endswith("training cases are now read from the cache (CUDA out of memory)")


def test_a_run_leaves_the_choice_of_algorithms_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (False, True):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
        with choosing_algorithms(torch.device("cuda")):
            assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.benchmark == before
        with choosing_algorithms(torch.device("cpu")):
            assert torch.backends.cudnn.benchmark == before


def test_skipped_steps_are_counted_over_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, notes = plan_of(2), []
    learn = Trainer.step

    def step(self: Trainer, setup: Setup, number: int, batch: Batch) -> torch.Tensor:
        OddGradient.odd = number in (3, 12, 17)
        return learn(self, setup, number, batch)

    monkeypatch.setattr(Trainer, "step", step)
    samples, setup = blob_samples((1, 40, 40)), setup_of(plan, tmp_path, 30)

    def stop_at_15(self: Trainer, setup: Setup, number: int, batch: Batch) -> torch.Tensor:
        if number == 15:
            raise KeyboardInterrupt
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
