"""What is measured of an out-of-fold answer, and of its reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_image, make_plan
from numpy.typing import NDArray

from medseg.commands.select.confidence import QualityConsumer
from medseg.confidence.measures import Example
from medseg.core.case import Case
from medseg.core.labels import IGNORE
from medseg.inference.predictor import Predictor
from medseg.models.model import Model, make_network
from medseg.out_of_fold.case import FoldAnswer, OutOfFoldCase


def example_of(label: NDArray[np.int16], annotated: tuple[str, ...] | None = None) -> Example:
    """What is measured of an untrained network's answer to a case with a label of two structures."""
    plan = make_plan(labels={"structures": {"one": 4, "two": 7}})
    torch.manual_seed(0)
    network = make_network(plan, plan.configuration("main"))
    predictor = Predictor(Model(plan, "main", ("0",), (network,), Path()), torch.device("cpu"), compares=False)
    image = make_image(np.random.default_rng(0).normal(size=label.shape).astype(np.float32))
    volume = predictor.prepare(image)
    (observation,) = predictor.observe(volume)
    predictor.labels(volume, observations=[observation])
    probabilities = np.zeros((3, *label.shape), np.float32)
    probabilities[1] = 1  # `one` everywhere
    answer = FoldAnswer("0", predictor, volume, probabilities, 0.0, observation)
    case = Case("case", "", (Path("case"),), annotated=annotated)
    consumer = QualityConsumer(plan, [("main",)])
    consumer.add(OutOfFoldCase(case, image, label, plan, {"main": answer}))
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
