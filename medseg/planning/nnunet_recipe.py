"""`--recipe nnunet`: a plan with nnU-Net's own way of training."""

from __future__ import annotations

from pathlib import Path

from medseg.core.errors import PlanError
from medseg.planning.recipe import NNUNET_EPOCH_STEPS, training_recipe
from medseg.plans.file import dump_plan, load_plan, parse_plan
from medseg.plans.schema import Plan
from medseg.plans.sections import Training

_OF_THE_MACHINE = ("precision", "cuda_graph", "seed")


def with_nnunet_recipe(plan: Plan) -> Plan:
    """The plan with nnU-Net's way of training, for `--recipe nnunet`; precision, seed and use of a GPU stay.

    Its optimizer, schedule (the learning rate changes from epoch to epoch only), gradient clip, sampling, augmentation
    and loss; nothing that it does not do. The network, the patch and the batch are the plan's.
    """
    recipe, _ = training_recipe("gpu", plan.data.dimensions)
    recipe["schedule_epoch_steps"] = NNUNET_EPOCH_STEPS
    reasons = {key: why for key, why in plan.reasons.items() if not key.startswith("training.")}
    reasons |= {f"training.{key}": "nnU-Net's, by --recipe nnunet" for key in recipe}
    if plan.labels.activation == "sigmoid" and plan.labels.ignore is not None:
        recipe["cross_entropy_weight"] = float(len(plan.labels.names))
        reasons["training.cross_entropy_weight"] = "nnU-Net adds regions up where labels are ignored"
    for key in _OF_THE_MACHINE:
        recipe[key] = getattr(plan.training, key)
        reasons.pop(f"training.{key}", None)
    return plan.model_copy(update={"training": Training.model_validate(recipe), "reasons": reasons})


def load_plan_to_train(path: Path, overrides: list[str], recipe: str | None = None) -> Plan:
    """A plan file with a recipe (`nnunet`, or None for the plan's own), and then with what the user sets.

    Raises:
        PlanError: as `load_plan`; or there is no such recipe.
    """
    if recipe is None:
        return load_plan(path, overrides)
    if recipe != "nnunet":
        raise PlanError(f"There is no recipe {recipe!r}.", "There is nnunet; without one the plan's own is used.")
    return parse_plan(dump_plan(with_nnunet_recipe(load_plan(path))), str(path), overrides)
