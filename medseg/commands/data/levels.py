"""Check that the networks of a new plan have the levels of `training.deep_supervision`."""

from __future__ import annotations

from functools import partial

from medseg.core.errors import PlanError
from medseg.plans.schema import Plan


def check_levels(plan: Plan) -> list[str]:
    """Refuse levels that a network does not have, when the plan is made rather than when training begins.

    Args:
        plan: a new plan.

    Returns:
        A note on each other configuration whose network does not have them.

    Raises:
        PlanError: the network of the default configuration does not have them, or cannot be made.
    """
    if isinstance(plan.training.deep_supervision, bool):
        return []
    # networks are made, without values, only for plans that name levels
    from medseg.models.model import make_network
    from medseg.networks.anatomy import on_meta
    from medseg.training.losses.deep_supervision import DeepSupervision

    notes = []
    for name in plan.configurations:
        configuration = plan.configuration(name)
        try:
            DeepSupervision.of(on_meta(partial(make_network, plan, configuration)), plan, configuration)
        except PlanError as error:
            if name == plan.default_configuration:
                raise
            notes.append(f"the configuration {name} cannot be trained with this plan: {error.message}")
    return notes
