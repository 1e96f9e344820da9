"""The table of losses: the names that `training.loss` in a plan may have, and how each is made.

A new loss is a file beside this one and a row here; docs/extend.md shows it as a diff.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.plans.sections import DEFAULT_LOSS, Training
from medseg.training.losses.boundary import Boundary
from medseg.training.losses.cldice import ClDice
from medseg.training.losses.cross_entropy import BinaryCrossEntropy, CrossEntropy
from medseg.training.losses.dice_ce import DiceCE
from medseg.training.losses.focal_tversky import FocalTversky
from medseg.training.losses.generalized_dice import GeneralizedDice
from medseg.training.losses.monai import MonaiLoss
from medseg.training.losses.protocol import IGNORE_LABEL, PARTIAL, REGIONS, Loss, SummedLoss
from medseg.training.losses.top_k import TopK
from medseg.training.losses.tversky import Tversky

AnyLoss = Loss | SummedLoss

LOSSES: dict[str, Callable[..., AnyLoss]] = {
    DEFAULT_LOSS: DiceCE,
    "ce": CrossEntropy,
    "bce": BinaryCrossEntropy,
    "top_k": TopK,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "cldice": ClDice,
    "boundary": Boundary,
    "dice": partial(MonaiLoss, "DiceLoss", drop_background=True),
    "focal": partial(MonaiLoss, "FocalLoss"),
    "dice_focal": partial(MonaiLoss, "DiceFocalLoss"),
    "generalized_dice": GeneralizedDice,
    "generalized_dice_focal": partial(MonaiLoss, "GeneralizedDiceFocalLoss"),
}
"""Name in the plan -> what makes the loss, called as `(labels, batch_dice, **arguments)`."""

_BUILT_IN = frozenset(LOSSES)


def register_loss(name: str, make: Callable[..., AnyLoss]) -> None:
    """Let plans name a loss of your own, as long as this Python process lasts.

    Args:
        name: what `training.loss` in the plan says.
        make: the class of the loss, called as `(labels, batch_dice, **arguments)`; see `protocol.Loss`.

    Raises:
        PlanError: the name is that of one of medseg's losses.
    """
    if name in _BUILT_IN:
        raise PlanError(f"medseg has a loss named {name!r}; choose another name.")
    LOSSES[name] = make


def make_loss(training: Training, labels: Labels, batch_dice: bool, partly_labelled: bool = False) -> AnyLoss:
    """Make the loss that a plan names.

    Args:
        training: the plan's section, with the name of the loss and its arguments.
        labels: the plan's labels.
        batch_dice: the configuration's: sum over the batch before a ratio, instead of a ratio per sample.
        partly_labelled: whether there are cases in which only some structures were annotated.

    Raises:
        PlanError: there is no such loss, its arguments do not fit it, or it cannot be trained with such labels.
    """
    name, arguments = training.loss.name, training.loss.arguments
    if name not in LOSSES:
        raise PlanError(
            f"training.loss is {name!r}, and there is no such loss; there are {', '.join(LOSSES)}.",
            "A loss of your own is registered from Python before training: "
            f"medseg.register_loss({name!r}, YourClass). docs/extend.md shows how.",
        )
    if name == DEFAULT_LOSS:
        weights = {"dice_weight": training.dice_weight, "cross_entropy_weight": training.cross_entropy_weight}
        arguments = {**weights, **arguments}
    make = LOSSES[name]
    try:
        loss = make(labels, batch_dice, **arguments)
    except (TypeError, ValueError) as error:
        raise PlanError(f"training.loss: the arguments {arguments} do not fit {name}: {error}", _hint(make)) from None
    demands = {
        REGIONS: labels.activation == "sigmoid",
        IGNORE_LABEL: labels.ignore is not None,
        PARTIAL: partly_labelled,
    }
    supported = getattr(loss, "supports", ())
    missing = [what for what, demanded in demands.items() if demanded and what not in supported]
    if missing:
        raise PlanError(
            f"training.loss is {name!r}, which cannot be trained with {' and '.join(missing)}; this data set has them.",
            f"Choose another loss, such as {DEFAULT_LOSS}; a loss of your own says in `supports` what it can.",
        )
    return loss


def _hint(make: Callable[..., Any]) -> str | None:
    """Return a sentence with the names of a loss's own arguments; None where they cannot be known."""
    parameters = inspect.signature(make).parameters.values()
    names = [one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(names) < len(parameters):
        return None
    own = [name for name in names if name not in ("labels", "batch_dice")]
    return f"Its arguments are: {', '.join(own) or 'none'}."
