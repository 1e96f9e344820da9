"""Whether the networks and losses that a plan names exist, and take what the plan gives them.

What the planner chooses itself exists and fits, which tests show. It is not looked up: the tables of networks and
losses need torch, which takes longer to import than a hundred cases to plan.
"""

from __future__ import annotations

from medseg.plans.network_rules import DEFAULT_ENCODER, ENCODER_CLASSES, UNETS
from medseg.plans.schema import Configuration, Plan
from medseg.plans.sections.losses import DEFAULT_LOSS
from medseg.training.losses.class_weights import class_weights


def check_names(plan: Plan) -> None:
    """Refuse a plan whose network or loss does not exist or does not take what the plan gives it.

    Raises:
        PlanError: there is no such network, encoder or loss, its arguments do not fit it, it does not take images of
            so many dimensions, or it cannot be trained with such labels.
    """
    for name in plan.configurations:
        configuration = plan.configuration(name)
        if not _is_own_unet(configuration):
            _check_network(configuration)
        _check_loss(plan, configuration)


def _is_own_unet(configuration: Configuration) -> bool:
    """Return whether the network is one that the planner chooses, without arguments of the user's."""
    return configuration.network.name in UNETS and not configuration.network.arguments


def _check_network(configuration: Configuration) -> None:
    """Look a network up, and its encoder if it has one by name."""
    from medseg.networks.encoders.rows import check_encoder
    from medseg.networks.table import find_network

    find_network(configuration)
    if configuration.network.name in ENCODER_CLASSES.values():
        check_encoder(configuration.network.encoder or DEFAULT_ENCODER)


def _check_loss(plan: Plan, configuration: Configuration) -> None:
    """Make the loss on trial, unless it is the default, which can be trained with all labels and weights."""
    weights, loss = class_weights(plan), plan.training.loss
    if loss.name == DEFAULT_LOSS and not loss.arguments:
        return
    from medseg.training.losses.table import make_loss

    make_loss(plan.training, plan.labels, configuration.batch_dice, class_weights=weights)
