"""What is said of calibrated probabilities, where answers are made as they were at select, and otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import make_plan

from medseg.commands.predict.judged import judged_notes
from medseg.commands.predict.options import PredictOptions
from medseg.confidence.calibration import BeforeAndAfter, Calibration
from medseg.delivery.answers.options import Maps
from medseg.inference.fast import TRADES, make_fast
from medseg.models.model import Model
from medseg.selection.record import Averaging, Member, Selection, Threshold

MAPS = PredictOptions(maps=Maps(probabilities=True))
SAME = BeforeAndAfter(before=0, after=0)


@pytest.fixture
def model() -> Model:
    plan = make_plan()
    plan.inference.mirror = True
    counts: dict[str, Any] = {"cases": 3, "voxels": 9, "nll": SAME, "ece": {}, "ece_all": SAME}
    selection = Selection(
        plan="toy",
        medseg="0",
        made="now",
        members=[Member(configuration="main", folds=["0"], averaging=Averaging.of(plan.inference))],
        calibration=Calibration(temperatures=[1.5], **counts, diagram_before=[], diagram_after=[]),
    )
    return Model(plan, "main", ("0",), (), Path(), selection=selection)


def changed(model: Model, **settings: Any) -> Model:
    inference = model.plan.inference.model_copy(update=settings)
    return replace(model, plan=model.plan.model_copy(update={"inference": inference}))


def test_with_the_settings_of_select_probabilities_are_calibrated(model: Model) -> None:
    (note,) = judged_notes(model, MAPS)
    assert note.startswith("probabilities and entropy are calibrated: logits are divided by 1.5")
    # what computes, and how many tiles at once, is not what they were fitted with
    assert judged_notes(changed(model, tile_batch=7, backend="torch", precision="bf16"), MAPS) == [note]
    assert judged_notes(model, PredictOptions()) == []


def test_maps_of_the_spread_are_said_to_be_not_calibrated(model: Model) -> None:
    (note,) = judged_notes(model, PredictOptions(maps=Maps(spread=True)))
    assert note.startswith("mean and spread are of the probabilities as they come from the network")
    assert judged_notes(replace(model, selection=None), PredictOptions(maps=Maps(spread=True))) == []


@pytest.mark.parametrize("key", Averaging.model_fields)
def test_other_settings_are_named(model: Model, key: str) -> None:
    before = getattr(model.plan.inference, key)
    now = (not before) if isinstance(before, bool) else 0.75
    first, second = judged_notes(changed(model, **{key: now}), MAPS)
    assert first.startswith("probabilities and entropy are not calibrated for this prediction: logits are divided")
    assert second.startswith(f"temperatures were fitted on answers with inference.{key}={str(before).lower()} (now ")


def test_each_trade_of_fast_is_one_of_these_settings(model: Model) -> None:
    assert {key for trade in TRADES.values() for key in trade} <= set(Averaging.model_fields)
    assert judged_notes(make_fast(model), MAPS)[0].startswith("probabilities and entropy are not calibrated")


def test_thresholds_are_named_even_where_no_map_is_written(model: Model) -> None:
    assert model.selection is not None
    selection = model.selection.model_copy(update={"thresholds": {"one": Threshold(value=0.4)}})
    notes = judged_notes(changed(replace(model, selection=selection), mirror=False), PredictOptions())
    assert notes == [
        "thresholds were fitted on answers with inference.mirror=true (now false): they are less certain here"
    ]


def test_a_selection_that_does_not_say_is_taken_at_its_word(model: Model) -> None:
    assert model.selection is not None
    [member] = model.selection.members
    silent = model.selection.model_copy(update={"members": [member.model_copy(update={"averaging": None})]})
    assert len(judged_notes(changed(replace(model, selection=silent), mirror=False), MAPS)) == 1


def test_each_member_is_compared_with_its_own_settings(model: Model) -> None:
    assert model.selection is not None
    [member] = model.selection.members
    coarse = changed(replace(model, configuration_name="2d", selection=None), step_fraction=0.75)
    of_coarse = Averaging.of(coarse.plan.inference)
    second = Member(configuration="2d", folds=["0"], averaging=of_coarse)
    selection = model.selection.model_copy(update={"members": [member, second]})
    both = replace(model, selection=selection, others=(coarse,))
    assert len(judged_notes(both, MAPS)) == 1  # other settings than the first one's, and its own
    moved = replace(both, others=(changed(coarse, step_fraction=0.5),))
    assert judged_notes(moved, MAPS)[1] == (
        "temperatures were fitted on answers with inference.step_fraction=0.75 (now 0.5) in 2d: they are less certain "
        "here"
    )
    one_text = "temperatures were fitted on answers with inference.mirror=true (now false): they are less certain here"
    unmirrored = replace(changed(both, mirror=False), others=(changed(coarse, mirror=False),))
    assert judged_notes(unmirrored, MAPS)[1] == one_text
