"""Try the networks of a new plan without values, so that what does not fit is refused before training begins."""

from __future__ import annotations

from functools import partial

from medseg.core.errors import PlanError
from medseg.plans.network_rules import UNETS
from medseg.plans.schema import Configuration, Plan


def check_networks(plan: Plan) -> list[str]:
    """Refuse a network that cannot be made, does not take the plan's patch, or lacks levels that the plan supervises.

    medseg's own U-Nets take every valid plan, so that they are made only where the plan names levels; others are known
    to fit when they have been tried.

    Args:
        plan: a new plan.

    Returns:
        A note on each other configuration whose network does not fit.

    Raises:
        PlanError: the network of the default configuration does not fit.
    """
    levels = not isinstance(plan.training.deep_supervision, bool)
    notes = []
    for name in plan.configurations:
        configuration = plan.configuration(name)
        if configuration.network.name in UNETS and not levels:
            continue
        try:
            _try(plan, configuration)
        except PlanError as error:
            if name == plan.default_configuration:
                raise
            notes.append(f"the configuration {name} cannot be trained with this plan: {error.message}")
    return notes


def _try(plan: Plan, configuration: Configuration) -> None:
    """Make a network on the meta device and let a batch through.

    Raises:
        PlanError: it cannot be made, lacks levels, or does not answer as it should.
    """
    from medseg.models.model import input_channels, make_network
    from medseg.networks.anatomy import on_meta
    from medseg.networks.trial import check_answers
    from medseg.training.losses.deep_supervision import DeepSupervision

    network = on_meta(partial(make_network, plan, configuration))
    scales = DeepSupervision.of(network, plan, configuration).scales
    shape = (configuration.batch_size, input_channels(plan, configuration), *configuration.patch_voxels)
    check_answers(network, configuration, shape, plan.labels.outputs, scales)
