"""From epochs to steps: what a pass over the training cases is."""

from dataclasses import replace

import numpy as np
import pytest
from builders import make_plan, make_sample

from medseg.preprocessing.cache import Sample
from medseg.training.length.epochs import epoch_samples, steps_of_epochs


def samples(*weights: float) -> list[Sample]:
    """Return a case of five slices for each weight."""
    cases = [make_sample(np.zeros((5, 4, 4)), np.zeros((5, 4, 4), int), name=str(n)) for n in range(len(weights))]
    return [replace(case, case=replace(case.case, weight=weight)) for case, weight in zip(cases, weights, strict=True)]


def test_an_epoch_has_a_sample_for_each_volume_or_slice_that_may_be_drawn() -> None:
    assert epoch_samples(samples(1.0, 0.5, 3.0), make_plan(3).configuration("main")) == 3
    assert epoch_samples(samples(1.0, 0.5, 3.0), make_plan(2).configuration("main")) == 15
    assert epoch_samples(samples(1.0, 0.0), make_plan(2).configuration("main")) == 5, "a weight of 0 is never drawn"


@pytest.mark.parametrize(("epochs", "steps"), [(1, 8), (0.5, 4), (1.01, 8), (0.01, 1)])
def test_a_step_that_was_begun_is_made(epochs: float, steps: int) -> None:
    """15 slices in batches of 2: 7.5, 3.75, 7.575 and 0.075 steps."""
    configuration = make_plan(2, {"batch_size": 2}).configuration("main")
    made, note = steps_of_epochs(epochs, samples(1.0, 1.0, 1.0), configuration)
    assert made == steps
    assert note.endswith("15 slices in batches of 2")
