"""What is measured of an out-of-fold answer, and of its reference."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_image, make_plan
from numpy.typing import NDArray

from medseg.commands.select.confidence import QualityConsumer
from medseg.commands.select.kept_answers import keep_answers
from medseg.commands.select.search import Treatment
from medseg.commands.select.treated_answers import TreatedAnswers
from medseg.confidence.measures import Example
from medseg.confidence.quality import FEWEST_CASES, Quality
from medseg.core.case import Case
from medseg.core.labels import IGNORE
from medseg.core.progress import silent
from medseg.inference.predictor import Predictor
from medseg.models.model import Model, make_network
from medseg.out_of_fold.case import FoldAnswer, OutOfFoldCase
from medseg.plans.schema import Plan
from medseg.selection.record import Member, Selection, Step

ONLY = ("main",)


def plan_of_two() -> Plan:
    return make_plan(labels={"structures": {"one": 4, "two": 7}})


@cache
def untrained(fold: str) -> Predictor:
    torch.manual_seed(0)
    plan = plan_of_two()
    network = make_network(plan, plan.configuration("main"))
    return Predictor(Model(plan, "main", (fold,), (network,), Path()), torch.device("cpu"), compares=False)


def case_of(
    label: NDArray[np.int16], answer: NDArray, annotated: tuple[str, ...] | None = None, number: int = 0
) -> OutOfFoldCase:
    """A case with a label of two structures, to which an untrained network answers what it is told to.

    Args:
        label: indices.
        answer: indices.
        annotated: structures.
        number: of the case; folds 0 and 1 take turns.
    """
    plan, fold = plan_of_two(), str(number % 2)
    predictor = untrained(fold)
    image = make_image(np.random.default_rng(number).normal(size=label.shape).astype(np.float32))
    volume = predictor.prepare(image)
    (observation,) = predictor.observe(volume)
    predictor.labels(volume, observations=[observation])
    probabilities = np.stack([answer == index for index in range(3)]).astype(np.float32)
    case = Case(f"case{number}", "", (Path("case"),), annotated=annotated)
    of_fold = FoldAnswer(fold, predictor, volume, probabilities, 0.0, observation)
    return OutOfFoldCase(case, image, label, plan, {"main": of_fold})


def example_of(label: NDArray[np.int16], annotated: tuple[str, ...] | None = None) -> Example:
    """What is measured where `one` is answered everywhere."""
    consumer = QualityConsumer(plan_of_two(), [ONLY])
    consumer.add(case_of(label, np.ones_like(label), annotated))
    ((example,),) = consumer._examples.values()
    return example


@pytest.fixture
def label() -> NDArray[np.int16]:
    label = np.zeros((8, 8, 8), np.int16)
    label[:4] = 1
    label[6:] = 2
    return label


def test_shapes_of_the_reference_are_those_of_its_label_values(label: NDArray[np.int16]) -> None:
    example = example_of(label)
    assert {name: shape.volume for name, shape in example.reference.items()} == {"one": 0.256, "two": 0.128}
    assert example.measures.shapes["one"].volume == 0.512
    assert example.dice == {"one": pytest.approx(2 / 3), "two": 0.0}
    assert list(example_of(label, ("two",)).reference) == ["two"]


def test_a_reference_of_which_voxels_were_not_annotated_has_no_shapes(label: NDArray[np.int16]) -> None:
    label[4:6] = IGNORE
    example = example_of(label)
    assert example.reference == {}
    # on what was annotated, 256 voxels are `one` and 128 are not
    assert example.dice == {"one": pytest.approx(2 * 256 / (256 + 384)), "two": 0.0}


def fitted(folder: Path, label: NDArray[np.int16], treatment: Treatment) -> Quality:
    """What is fitted on twelve answers that are right but for an island of `one`, once they are treated."""
    answer = label.copy()
    answer[5, :2, :2] = 1
    consumer, kept = QualityConsumer(plan_of_two(), [ONLY]), []
    for number in range(FEWEST_CASES):
        case = case_of(label, answer, number=number)
        consumer.add(case)
        kept.append(keep_answers(case, {ONLY: case.labels(ONLY)}, folder))
    treatments = {case.case.id: treatment for case in kept}
    selection = Selection(plan="toy", medseg="0", made="now", members=[Member(configuration="main", folds=["0", "1"])])
    quality = consumer.finish(TreatedAnswers(ONLY, kept, treatments, silent), selection).quality
    assert quality is not None
    return quality


def test_quality_is_fitted_on_answers_as_they_are_treated(tmp_path: Path, label: NDArray[np.int16]) -> None:
    label[:] = 0
    label[:4, 2:] = 1
    label[6:] = 2
    as_answered = fitted(tmp_path, label, Treatment())
    treated = fitted(tmp_path, label, Treatment(steps=(Step(operation="largest_component", structures=["one"]),)))
    # 192 voxels are right, and 4 too many
    assert as_answered.dice["one"][0].intercept == pytest.approx(2 * 192 / (192 + 196), abs=1e-4)
    assert treated.dice["one"][0].intercept == 1
    assert as_answered.thresholds["parts"]["one"] > treated.thresholds["parts"]["one"] == 0
    assert as_answered.dice["two"][0].intercept == treated.dice["two"][0].intercept == 1
