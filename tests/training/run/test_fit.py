"""The loop, on problems of seconds: it learns, repeats, resumes, and stops when it has gone wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning.small_runs import EVERYTHING, RECIPES, blob_samples, new_network, no_validation, plan_of, run, setup_of
from learning.weights import assert_same_weights

from medseg.core.labels import IGNORE, Labels
from medseg.core.progress import Progress, silent
from medseg.inference.window_pass import predict_logits
from medseg.networks.device import choosing_algorithms
from medseg.plans.schema import Plan
from medseg.preprocessing.cache import Sample
from medseg.training.run.fit import fit
from medseg.training.run.log import read_log


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


def test_a_run_leaves_the_choice_of_algorithms_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (False, True):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
        with choosing_algorithms(torch.device("cuda")):
            assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.benchmark == before
        with choosing_algorithms(torch.device("cpu")):
            assert torch.backends.cudnn.benchmark == before
