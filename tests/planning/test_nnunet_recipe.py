"""medseg's trainer with nnU-Net's recipe has nnU-Net's losses, recorded by benchmarks/accuracy/recipe_losses.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from learning.recipe_problem import VARIANTS, Problem, our_losses, tiny_problem

RECORDED = json.loads(Path(__file__).with_name("nnunet_losses.json").read_text())["losses"]
TOLERANCE = 1e-4  # rounding alone, as of another number of threads, moves them by up to 2e-5
WHOLE = ("labels", "epochs of 10 steps")
SHORT = 12


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_losses_are_nnunets(variant: str) -> None:
    steps = 50 if variant in WHOLE else SHORT
    np.testing.assert_allclose(
        our_losses(tiny_problem(variant), steps), RECORDED[variant][:steps], rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize(("key", "value"), [("momentum", 0.9), ("weight_decay", 0.3), ("gradient_clip", 0.5)])
def test_another_recipe_has_other_losses(key: str, value: float) -> None:
    problem = tiny_problem("labels")
    plan = problem.plan.model_copy(deep=True)
    setattr(plan.training, key, value)
    apart = np.subtract(our_losses(Problem(plan, problem.steps), SHORT), RECORDED["labels"][:SHORT])
    assert np.abs(apart).max() > 10 * TOLERANCE
