"""The table of losses: the names that `training.loss` in a plan may have, and how each is made.

A new loss is a file beside this one and a row here; docs/development/extend.md shows it as a diff.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.plans.arguments import Parameters, arguments_of, wrong_type
from medseg.plans.sections.losses import DEFAULT_LOSS, LOSS_SUM, LossName
from medseg.plans.sections.training import Training
from medseg.training.losses.boundary import Boundary
from medseg.training.losses.cldice import ClDice
from medseg.training.losses.cross_entropy import BinaryCrossEntropy, CrossEntropy
from medseg.training.losses.dice_ce import DiceCE
from medseg.training.losses.focal_tversky import FocalTversky
from medseg.training.losses.generalized_dice import GeneralizedDice
from medseg.training.losses.hausdorff import Hausdorff
from medseg.training.losses.monai import MonaiLoss
from medseg.training.losses.protocol import (
    CLASS_WEIGHTS,
    IGNORE_LABEL,
    PARTIAL,
    REGIONS,
    VOXEL_WEIGHTS,
    Loss,
    SummedLoss,
)
from medseg.training.losses.skeleton_recall import SkeletonRecall
from medseg.training.losses.sum import LossSum, Part
from medseg.training.losses.top_k import TopK
from medseg.training.losses.tversky import Tversky

AnyLoss = Loss | SummedLoss | LossSum

LOSSES: dict[str, Callable[..., Loss | SummedLoss]] = {
    DEFAULT_LOSS: DiceCE,
    "ce": CrossEntropy,
    "bce": BinaryCrossEntropy,
    "top_k": TopK,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "cldice": ClDice,
    "skeleton_recall": SkeletonRecall,
    "boundary": Boundary,
    "hausdorff": Hausdorff,
    "dice": partial(MonaiLoss, "DiceLoss", drop_background=True),
    "focal": partial(MonaiLoss, "FocalLoss"),
    "dice_focal": partial(MonaiLoss, "DiceFocalLoss"),
    "generalized_dice": GeneralizedDice,
    "generalized_dice_focal": partial(MonaiLoss, "GeneralizedDiceFocalLoss"),
}
"""Name in the plan -> what makes the loss, called as `(labels, batch_dice, **arguments)`."""

_OTHER_NAMES = {"crossentropy": "ce", "binarycrossentropy": "bce", "bce": "bce", "softdice": "dice", "ohem": "top_k"}
"""How other libraries' names of losses begin -> ours, where these do not look alike."""
_BUILT_IN = frozenset({*LOSSES, LOSS_SUM})


def register_loss(name: str, make: Callable[..., Loss | SummedLoss]) -> None:
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


def make_loss(
    training: Training,
    labels: Labels,
    batch_dice: bool,
    partly_labelled: bool = False,
    class_weights: Sequence[float] | None = None,
    voxel_weights: bool = False,
) -> AnyLoss:
    """Make the loss that a plan names.

    Args:
        training: the plan's section, with the name of the loss and its arguments.
        labels: the plan's labels.
        batch_dice: the configuration's: sum over the batch before a ratio, instead of a ratio per sample.
        partly_labelled: whether there are cases in which only some structures were annotated.
        class_weights: the weight of each output (`class_weights.class_weights`); None for equal ones.
        voxel_weights: whether there are cases with a map of weights.

    Returns:
        The loss: a callable, or the losses of a sum.

    Raises:
        PlanError: there is no such loss, its arguments do not fit it, or it cannot be trained with such labels.
    """
    demands = {
        REGIONS: labels.activation == "sigmoid",
        IGNORE_LABEL: labels.ignore is not None,
        PARTIAL: partly_labelled,
        CLASS_WEIGHTS: class_weights is not None,
        VOXEL_WEIGHTS: voxel_weights,
    }

    def make(choice: LossName) -> Loss | SummedLoss:
        loss = _make_one(choice, training, labels, batch_dice)
        _check_supported(loss, choice, [what for what, demanded in demands.items() if demanded])
        if class_weights is not None:
            loss.class_weights = torch.tensor(class_weights)  # type: ignore[union-attr]
        return loss

    if not training.loss.sum:
        return make(training.loss)
    if not any(weight for part in training.loss.sum for weight in part.weights):
        raise PlanError("training.loss.sum: every weight is 0, so that nothing can be learnt.", "Give one above 0.")
    return LossSum([Part(make(part), *part.weights) for part in training.loss.sum])


def _make_one(choice: LossName, training: Training, labels: Labels, batch_dice: bool) -> Loss | SummedLoss:
    """Return the loss of a name and its arguments."""
    name, arguments = choice.name, choice.arguments
    if name not in LOSSES:
        meant = _meant(name)
        similar = f" Did you mean {meant!r}?" if meant else ""
        raise PlanError(
            f"training.loss is {name!r}, and there is no such loss; there are {', '.join(LOSSES)}.{similar}",
            "A loss of your own is registered from Python before training: "
            f"medseg.register_loss({name!r}, YourClass). docs/development/extend.md shows how.",
        )
    if name == DEFAULT_LOSS:
        weights = {"dice_weight": training.dice_weight, "cross_entropy_weight": training.cross_entropy_weight}
        arguments = {**weights, **arguments}
    make = LOSSES[name]
    if name in _BUILT_IN:
        _check_arguments(name, arguments, _own_arguments(make))
    try:
        return make(labels, batch_dice, **arguments)
    except (TypeError, ValueError) as error:
        raise PlanError(f"training.loss: the arguments {arguments} do not fit {name}: {error}", _hint(make)) from None


def _meant(name: str) -> str | None:
    """Return the loss that was probably meant by a name of another library: `DiceCELoss`, `cross_entropy`."""
    plain = name.lower().removesuffix("loss").strip("_- ")
    for words, meant in _OTHER_NAMES.items():
        if plain.replace("_", "").replace("-", "").startswith(words):
            return meant
    return next(iter(difflib.get_close_matches(plain, LOSSES, n=1, cutoff=0.5)), None)


def _own_arguments(make: Callable[..., Any]) -> Parameters:
    """Return the arguments of a loss that a plan may give."""
    if isinstance(make, partial) and make.func is MonaiLoss:
        return MonaiLoss.parameters(make.args[0])
    return {name: parameter for name, parameter in arguments_of(make).items() if name not in _CALLED}


def _check_arguments(name: str, arguments: Mapping[str, Any], known: Parameters) -> None:
    """Refuse arguments that a loss of medseg's does not have, values of other types, and numbers below 0.

    Raises:
        PlanError: there is one; the message says what the loss has.
    """
    start, hint = f"training.loss: the arguments {dict(arguments)} do not fit {name}:", _listed(known)
    for key, value in arguments.items():
        if key not in known:
            match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            similar = f"; did you mean {match[0]!r}?" if match else "."
            raise PlanError(f"{start} it has no argument {key!r}{similar}", hint)
        if wrong := wrong_type(value, known[key]):
            raise PlanError(f"{start} {key} {wrong}.", hint)
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int | float) and number < 0 for number in numbers):
            raise PlanError(f"{start} {key} is {value}; expected no number below 0.", hint)


def _listed(known: Parameters) -> str:
    return f"Its arguments are: {', '.join(known) or 'none'}."


def _check_supported(loss: Loss | SummedLoss, choice: LossName, demands: Sequence[str]) -> None:
    """Refuse a loss that does not say that it can be trained with what is demanded."""
    missing = [what for what in demands if what not in getattr(loss, "supports", ())]
    if missing == [CLASS_WEIGHTS]:
        raise PlanError(
            f"training.loss is {choice.name!r}, which takes no {CLASS_WEIGHTS}.",
            f"Leave them out (training.class_weights=null), or choose another loss, such as {DEFAULT_LOSS}.",
        )
    if missing:
        raise PlanError(
            f"training.loss is {choice.name!r}, which cannot be trained with {' and '.join(missing)}; this data set "
            "has them.",
            f"Choose another loss, such as {DEFAULT_LOSS}; a loss of your own says in `supports` what it can.",
        )
    if CLASS_WEIGHTS in demands and "weight" in choice.arguments:
        raise PlanError(
            f"training.loss gives {choice.name} a `weight`, and there are {CLASS_WEIGHTS} as well.",
            "Give one of the two.",
        )


_CALLED = "labels", "batch_dice"
_HOW_CALLED = (
    "A loss of your own is made by YourClass(labels, batch_dice, **arguments) and then called with logits and labels: "
    "docs/development/extend.md has one."
)


def _hint(make: Callable[..., Any]) -> str | None:
    """Return a sentence with the names of a loss's own arguments, or on how a loss is made; None where none helps."""
    parameters = arguments_of(make)
    if [*parameters][: len(_CALLED)] != [*_CALLED]:
        return None if isinstance(make, partial) else _HOW_CALLED
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return _listed({name: parameters[name] for name in [*parameters][len(_CALLED) :]})
