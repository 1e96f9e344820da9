"""The section `training`: optimizer, schedule, loss, sampling and augmentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, field_validator

from medseg.plans.sections.augmentation import Augmentation
from medseg.plans.sections.losses import DEFAULT_LOSS, LossChoice
from medseg.plans.sections.section import Fraction, NonNegative, Section
from medseg.plans.sections.supervision import BOOL_FORM, LEVELS_FORM, SupervisedLevels, supervision_form

_OTHER_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("onecycle", "onecyclelr"), "one_cycle"),
    **dict.fromkeys(("polynomial", "polynomiallr", "polylr"), "poly"),
    **dict.fromkeys(("cosineannealing", "cosineannealinglr", "cosinelr"), "cosine"),
    **dict.fromkeys(("constantlr", "fixed"), "constant"),
}
"""Names of schedules in other libraries, in lower case and without `_` -> ours."""


class Training(Section):
    """Optimizer, schedule, loss, sampling and augmentation.

    Attributes:
        steps: optimizer steps; `epochs`, `--steps`, `--epochs` and `--budget` override it.
        epochs: length in epochs (`training.length.epochs`) instead of steps.
        optimizer: `sgd` (with Nesterov momentum), `adam` (weight decay as part of the gradient), `adamw` (apart from
            it), or `muon` (orthogonalized steps for convolutions, AdamW for the rest).
        learning_rate: the largest learning rate of the schedule.
        encoder_learning_rate: the encoder's share of the learning rate; 0 freezes it.
        momentum: the momentum of SGD and Muon.
        weight_decay: strength of the weight decay.
        schedule: `poly` ((1 - progress)^0.9), `cosine` (down to 0), `one_cycle` (up over the first tenth, then down
            along a cosine) or `constant`.
        schedule_epoch_steps: the learning rate changes once in this many steps; nnU-Net's epoch has 250.
        gradient_clip: largest global norm of the gradient.
        foreground_fraction: share of patches that are centred on a structure.
        sampling: structure -> how often these patches are centred on it, relative to the others, which have 1; the case
            is then one of those that have the structure. Empty to draw the case first, then one of its structures.
        deep_supervision: also apply the loss to coarser outputs: all that the network has with nnU-Net's weights
            (true), or chosen ones with chosen weights.
        loss: what is minimized: a loss, or a sum of losses.
        class_weights: structure (or `background`) -> its weight in the loss, 1 for those that are not named; or
            `inverse_frequency`: the rarer, the larger, as `training.losses.class_weights` says.
        dice_weight: weight of the Dice term of `dice_ce`.
        cross_entropy_weight: weight of the cross-entropy term of `dice_ce`.
        average_weights: decay of the moving average of the weights, which is then kept as the result; 0 for none.
        precision: in which convolutions are computed; `auto` is bf16 if the processor has it.
        cuda_graph: on a CUDA device, record a step once and replay it.
        validations: how often whole volumes are validated during the run.
        patience: validations in a row without a better mean Dice after which a run goes to its end early; 0 for never.
        validation_cases: number of cases in each of these validations.
        train_scores: also score as many training cases then, to see how far the network has learnt them by heart.
        seed: seed of all random numbers.
        augmentation: random changes to patches.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("epochs", "sampling", "loss", "class_weights", "train_scores")

    steps: Annotated[int, Field(ge=1, le=10**9)]
    epochs: Annotated[float, Field(gt=0, le=10**9)] | None = None
    optimizer: Literal["sgd", "adam", "adamw", "muon"]
    learning_rate: PositiveFloat
    encoder_learning_rate: Fraction = 1.0
    momentum: Fraction
    weight_decay: NonNegative
    schedule: Literal["poly", "cosine", "one_cycle", "constant"]
    schedule_epoch_steps: PositiveInt = 1
    gradient_clip: PositiveFloat
    foreground_fraction: Fraction
    sampling: dict[str, NonNegative] = {}
    deep_supervision: Annotated[
        Annotated[bool, Tag(BOOL_FORM)] | Annotated[SupervisedLevels, Tag(LEVELS_FORM)],
        Discriminator(supervision_form),
    ]
    loss: LossChoice = LossChoice(name=DEFAULT_LOSS)
    class_weights: dict[str, NonNegative] | Literal["inverse_frequency"] | None = None
    dice_weight: NonNegative
    cross_entropy_weight: NonNegative
    average_weights: Fraction
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    cuda_graph: bool = False
    validations: PositiveInt
    patience: Annotated[int, Field(ge=0)] = 0
    validation_cases: PositiveInt
    train_scores: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    augmentation: Augmentation

    @field_validator("optimizer", "schedule", mode="before")
    @classmethod
    def _usual_name(cls, value: Any) -> Any:
        """Return the name of an optimizer or schedule as it is written here: `one_cycle` for `OneCycleLR`."""
        if not isinstance(value, str):
            return value
        plain = re.sub("[_ -]", "", value.lower())
        return _OTHER_NAMES.get(plain, plain)
