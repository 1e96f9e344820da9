"""What a selection does to an answer, on grids of every orientation and unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_plan

from medseg.core.image import Image
from medseg.inference.treatment import frame_of, threshold_offsets, treated
from medseg.models.model import Model
from medseg.plans.schema import Plan
from medseg.preprocessing.volume import geometry_of
from medseg.selection.record import Member, Selection, Step, Threshold


def model_with(plan: Plan, *steps: Step, thresholds: dict[str, float] | None = None) -> Model:
    above = {name: Threshold(value=value) for name, value in (thresholds or {}).items()}
    member = Member(configuration="main", folds=["0"])
    selection = Selection(
        plan="toy", medseg="0", made="now", members=[member], postprocessing=[*steps], thresholds=above
    )
    return Model(plan, "main", ("0",), (), Path("runs/toy/main"), selection=selection)


def geometry(plan: Plan, image: Image) -> Any:
    return geometry_of(image, plan, plan.configuration("main"))


@pytest.mark.parametrize("x_direction", [1.0, -1.0], ids=["to the right", "to the left"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)], ids=["x last", "x in the middle"])
@pytest.mark.parametrize("transpose", [[0, 1, 2], [2, 0, 1]])
def test_sides_are_the_patients(x_direction: float, axes: tuple[int, ...], transpose: list[int]) -> None:
    """A block at x < 0 (the patient's left, in RAS+) stays, one at x > 0 goes, however the array lies."""
    plan = make_plan(orientation="canonical", transpose_forward=transpose)
    xyz = np.zeros((20, 8, 6), np.uint8)
    xyz[2:5, 2:5, 2:4] = xyz[14:18, 2:5, 2:4] = 1
    affine = np.diag([x_direction, 1.0, 1.0, 1.0])
    affine[0, 3] = -9.5 * x_direction  # the middle of the scan is at x = 0
    order = [axes.index(axis) for axis in range(3)]
    stored = xyz.transpose(axes).transpose()  # z, y, x of the array as it is stored
    image = Image(np.ones((1, *stored.shape), np.float32), affine[:, [*axes, 3]])
    left = Step(operation="position", structures=["one"], range=[0.0, 0.4])
    after = treated(stored.copy(), geometry(plan, image), model_with(plan, left))
    inside = np.argwhere(after.transpose().transpose(order))  # in x, y, z
    assert len(inside) > 0
    assert {bool(x * x_direction + affine[0, 3] < 0) for x, _, _ in inside} == {True}


def test_without_turning_no_side_is_known() -> None:
    plan = make_plan(orientation="stored")
    image = Image(np.ones((1, 4, 4, 8), np.float32), np.eye(4))
    assert frame_of(geometry(plan, image), plan).right_axis is None


@pytest.mark.parametrize(
    ("dimensions", "data", "spacing", "unit", "size"),
    [
        (3, {}, (2.0, 3.0, 4.0), "ml", 0.024),
        (2, {}, (5.0, 3.0, 4.0), "mm2", 12.0),
        (3, {"spacing_known": False}, (1.0, 1.0, 1.0), "voxels", 1.0),
        (3, {"spacing_rule": "one"}, (2.0, 3.0, 4.0), "voxels", 1.0),
    ],
)
def test_sizes_are_measured_in_the_unit_of_the_plan(
    dimensions: int, data: dict[str, Any], spacing: tuple[float, ...], unit: str, size: float
) -> None:
    values = make_plan(dimensions).data.model_dump() | data
    plan = make_plan(dimensions, data=values)
    image = Image(np.ones((1, 3, 4, 5), np.float32), np.diag([*spacing[::-1], 1.0]))
    frame = frame_of(geometry(plan, replace(image, spacing_known=plan.data.spacing_known)), plan)
    assert (frame.unit, frame.voxel_size) == (unit, pytest.approx(size))


def test_offsets_of_thresholds() -> None:
    labels = {"structures": {"a": [1, 2], "b": [2]}, "activation": "sigmoid", "region_values": [1, 2]}
    plan = make_plan(labels=labels)
    assert threshold_offsets(model_with(plan)) is None
    offsets = threshold_offsets(model_with(plan, thresholds={"b": 0.8}))
    assert offsets is not None
    assert offsets.sigmoid().flatten().tolist() == pytest.approx([0.5, 0.8])
    just_above = torch.tensor([0.51, 0.79]).logit()[:, None, None, None] - offsets
    assert plan.labels.choose(just_above).item() == 1  # of a, and not of b
