"""The trades of --fast are made together, never the other way round, and leave alone what the user asked for."""

from pathlib import Path

import torch
from builders import INFERENCE, make_plan

from medseg.inference.fast import TRADES, make_fast
from medseg.models.model import Model
from medseg.plans.sections.inference import Inference


def model_with(**inference: object) -> Model:
    plan = make_plan(inference={**INFERENCE, **inference})
    return Model(plan, "main", ("0",), (torch.nn.Identity(),), Path())


def settings(model: Model) -> Inference:
    return model.plan.inference


def test_all_trades_are_made_and_nothing_else() -> None:
    before = model_with(mirror=True)
    after = make_fast(before)
    changed = {key for key, value in settings(after).model_dump().items() if value != getattr(settings(before), key)}
    assert changed == {key for trade in TRADES.values() for key in trade}
    assert not settings(after).mirror
    assert settings(after).step_fraction == 0.75
    assert settings(before).mirror


def test_steps_never_become_smaller() -> None:
    assert settings(make_fast(model_with(step_fraction=1.0))).step_fraction == 1.0


def test_what_the_user_asked_for_stays() -> None:
    after = settings(make_fast(model_with(mirror=True, step_fraction=0.6), ["inference.mirror=true", "data.folder=x"]))
    assert (after.mirror, after.step_fraction, after.skip_empty_tiles) == (True, 0.75, True)
    after = settings(make_fast(model_with(step_fraction=0.6), ["inference.step_fraction=0.6"]))
    assert (after.mirror, after.step_fraction) == (False, 0.6)


def test_both_stages_of_a_cascade_are_fast() -> None:
    first, second = model_with(mirror=True), model_with(mirror=True)
    after = make_fast(Model(second.plan, "main", ("0",), second.networks, Path(), first))
    assert after.previous is not None
    assert not settings(after.previous).mirror
