"""Operations on answers: worked examples, and what all of them have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.core.errors import ModelError
from medseg.core.labels import Labels
from medseg.selection.operations import Frame, apply_step, apply_steps, component_sizes
from medseg.selection.record import Step

LABELS = Labels(structures={"one": 1, "two": 2})
REGIONS = Labels(
    structures={"whole": [1, 2, 3], "core": [2, 3], "rim": [3]}, activation="sigmoid", region_values=[1, 2, 3]
)
STEPS: dict[str, dict[str, Any]] = {
    "largest of one": {"operation": "largest_component", "structures": ["{first}"]},
    "largest of all": {"operation": "largest_component", "structures": ["{first}", "{second}"]},
    "largest, as nnU-Net": {"operation": "largest_component", "structures": ["{second}"], "to_background": True},
    "smallest size": {"operation": "minimum_size", "structures": ["{second}"], "size": 0.004, "unit": "ml"},
    "holes": {"operation": "fill_holes", "structures": ["{first}"]},
    "position": {"operation": "position", "structures": ["{first}"], "range": [0.0, 0.45]},
}
"""Every operation, on structures that `step` names."""


def step(name: str, labels: Labels) -> Step:
    first, second = labels.names[:2]
    values = STEPS[name]
    return Step(**{**values, "structures": [text.format(first=first, second=second) for text in values["structures"]]})


def frame(mirrored: bool = False) -> Frame:
    return Frame(voxel_size=0.001, unit="ml", right_axis=2, content=(0, 11), reversed=mirrored)


def run(values: list[list[int]], step: Step, labels: Labels = LABELS) -> list[list[int]]:
    """The answer of one plane."""
    answer = apply_step(np.array([values], np.uint8), step, labels, Frame(unit="ml", voxel_size=0.001))
    return answer[0].tolist()


def test_the_largest_component_stays_and_equals_both_stay() -> None:
    largest = Step(operation="largest_component", structures=["one"])
    assert run([[1, 1, 0, 1, 2]], largest) == [[1, 1, 0, 0, 2]]
    assert run([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]], largest)[0] == [1, 0, 0]  # corners touch
    assert run([[1, 1, 0, 1, 1]], largest) == [[1, 1, 0, 1, 1]]


def test_over_all_foreground_structures_hold_together() -> None:
    largest = Step(operation="largest_component", structures=["one", "two"])
    assert run([[1, 2, 2, 0, 1, 1, 0, 2]], largest) == [[1, 2, 2, 0, 0, 0, 0, 0]]


def test_small_components_go_and_one_of_just_that_size_stays() -> None:
    smallest = Step(operation="minimum_size", structures=["one"], size=0.002, unit="ml")
    assert run([[1, 1, 0, 1, 0, 2]], smallest) == [[1, 1, 0, 0, 0, 2]]


def test_sizes_in_another_unit_than_the_scans_are_refused() -> None:
    smallest = Step(operation="minimum_size", structures=["one"], size=2, unit="mm2")
    with pytest.raises(ModelError, match="below 2 mm2, and this scan is measured in ml"):
        run([[1]], smallest)


def test_holes_are_filled_where_background_is_enclosed() -> None:
    ring = [[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1], [1, 0, 0, 1]]
    filled = run(ring, Step(operation="fill_holes", structures=["one"]))
    assert filled == [[1, 1, 1, 1], [1, 1, 2, 1], [1, 1, 1, 1], [1, 0, 0, 1]]


def test_what_is_taken_from_a_region_stays_in_those_around_it() -> None:
    answer = [[3, 0, 1, 3, 2, 3, 3]]
    assert run(answer, Step(operation="largest_component", structures=["rim"]), REGIONS) == [[2, 0, 1, 2, 2, 3, 3]]
    # of the whole, the inner regions go with it
    assert run(answer, Step(operation="largest_component", structures=["whole"]), REGIONS) == [[0, 0, 1, 3, 2, 3, 3]]
    nnunet = Step(operation="largest_component", structures=["rim"], to_background=True)
    assert run(answer, nnunet, REGIONS) == [[0, 0, 1, 0, 2, 3, 3]]


def test_components_where_none_was_seen_go() -> None:
    answer = np.zeros((1, 1, 12), np.uint8)
    answer[0, 0, [1, 2, 9, 10]] = 1
    left = Step(operation="position", structures=["one"], range=[0.0, 0.4])
    assert apply_step(answer, left, LABELS, frame())[0, 0].nonzero()[0].tolist() == [1, 2]
    assert apply_step(answer, left, LABELS, frame(mirrored=True))[0, 0].nonzero()[0].tolist() == [9, 10]
    assert apply_step(answer, left, LABELS, Frame()) is answer  # nothing says which side is which


def test_sizes_of_components() -> None:
    mask = np.array([[[1, 1, 0, 1]]], bool)
    assert sorted(component_sizes(mask)) == [1, 2]
    assert component_sizes(mask & False).size == 0


def answers(labels: Labels) -> list[NDArray[np.uint8]]:
    """Blobs and single voxels of every structure, an empty answer, and one of a single plane."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, len(labels.decisions), (3, 4, 4)) * (random.random((3, 4, 4)) < 0.6)
    blobs = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2).astype(np.uint8)
    specks = np.where(random.random(blobs.shape) < 0.03, random.integers(0, len(labels.decisions), blobs.shape), blobs)
    return [specks.astype(np.uint8), np.zeros_like(blobs), specks[:1].astype(np.uint8)]


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["exclusive", "regions"])
@pytest.mark.parametrize("name", STEPS)
def test_every_operation(name: str, labels: Labels) -> None:
    operation = step(name, labels)
    for answer in answers(labels):
        before = answer.copy()
        after = apply_step(answer, operation, labels, frame())
        assert np.array_equal(answer, before)  # what was handed in stays
        assert after.dtype == answer.dtype
        assert np.array_equal(apply_step(after, operation, labels, frame()), after)  # a second time changes nothing
        for axis in range(3):
            flipped = apply_step(np.flip(answer, axis), operation, labels, frame(mirrored=axis == 2))
            assert np.array_equal(np.flip(flipped, axis), after)
        if operation.operation != "fill_holes":
            for values in labels.members.values():
                assert not (np.isin(after, values) & ~np.isin(answer, values)).any()  # no structure gains a voxel


def test_steps_are_done_in_their_order() -> None:
    fill, largest = step("holes", LABELS), step("largest of one", LABELS)
    answer = np.zeros((1, 10, 10), np.uint8)
    answer[0, :5, :5] = 1
    answer[0, 1:4, 1:4] = 0  # a ring of 16 voxels, 25 once it is filled
    answer[0, 6:10, 5:10] = 1  # and a block of 20
    assert (apply_steps(answer, [fill, largest], LABELS, Frame()) > 0).sum() == 25
    assert (apply_steps(answer, [largest, fill], LABELS, Frame()) > 0).sum() == 20
