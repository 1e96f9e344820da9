"""The trades of --fast are named, made together, and never made the other way."""

from builders import INFERENCE

from medseg.inference.fast import TRADES, fast, fast_overrides
from medseg.plans.sections import Inference


def test_all_trades_are_made_and_nothing_else() -> None:
    before = Inference.model_validate({**INFERENCE, "mirror": True})
    after = fast(before)
    changed = {key for key, value in after.model_dump().items() if value != getattr(before, key)}
    assert changed == {key for trade in TRADES.values() for key in trade}
    assert not after.mirror
    assert after.step_fraction == 0.75
    assert before.mirror


def test_steps_never_become_smaller() -> None:
    assert fast(Inference.model_validate({**INFERENCE, "step_fraction": 1.0})).step_fraction == 1.0


def test_overrides_say_the_same() -> None:
    values = dict(text.split("=") for text in fast_overrides())
    assert values == {
        "inference.step_fraction": "0.75",
        "inference.mirror": "false",
        "inference.skip_empty_tiles": "true",
    }
