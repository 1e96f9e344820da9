"""medseg's trainer with nnU-Net's recipe has nnU-Net's losses, recorded by benchmarks/recipe_losses.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from recipe_problem import VARIANTS, our_losses, tiny_problem

RECORDED = json.loads(Path(__file__).with_name("nnunet_losses.json").read_text())["losses"]
TOLERANCE = 1e-4  # rounding alone, as of another number of threads, moves them by up to 2e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_losses_are_nnunets(variant: str) -> None:
    assert len(RECORDED[variant]) == 50
    np.testing.assert_allclose(our_losses(tiny_problem(variant), 50), RECORDED[variant], rtol=0, atol=TOLERANCE)


def test_another_recipe_has_other_losses() -> None:
    problem = tiny_problem("labels")
    for key, value in (("momentum", 0.9), ("weight_decay", 0.3), ("gradient_clip", 0.5)):
        plan = problem.plan.model_copy(deep=True)
        setattr(plan.training, key, value)
        differences = np.subtract(our_losses(type(problem)(plan, problem.steps), 20), RECORDED["labels"][:20])
        assert np.abs(differences).max() > 10 * TOLERANCE, key
