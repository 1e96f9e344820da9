"""The key `training.loss`: a loss by its name, with arguments, or a sum of losses."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from medseg.plans.sections.section import NonNegative, Section

DEFAULT_LOSS = "dice_ce"
"""Dice plus cross-entropy; the loss of plans that name none."""
LOSS_SUM = "sum"
"""The key of a sum of losses, and the name that it has in messages."""
BACKGROUND = "background"
"""What `training.class_weights` calls everything that belongs to no structure."""


class LossName(Section):
    """A loss by its name, or `{name: tversky, alpha: 0.3}` with arguments of its own.

    Attributes:
        name: name of the loss; `medseg.training.losses.table` has the names, and is asked when training starts.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the loss: every key but the name."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _accept_name_alone(cls, value: Any) -> Any:
        """Turn a plain name into a section."""
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> Any:
        """Return the name alone if there is nothing else to say, and a sum without its name."""
        values: dict[str, Any] = handler(self)
        for key in self.OPTIONAL_KEYS:
            if getattr(self, key) == type(self).model_fields[key].default:
                values.pop(key)
        if LOSS_SUM in values:
            return {LOSS_SUM: values[LOSS_SUM]}
        return values if len(values) > 1 else self.name


class LossPart(LossName):
    """A loss of a sum: a name, its arguments, and its weight in the sum.

    Attributes:
        weight: the weight, or [first, last]: it then changes linearly in the course of the schedule.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("weight",)

    weight: NonNegative | Annotated[list[NonNegative], Field(min_length=2, max_length=2)] = 1.0

    @property
    def weights(self) -> tuple[float, float]:
        """The weight at the start and at the end of the schedule."""
        first, last = self.weight if isinstance(self.weight, list) else (self.weight, self.weight)
        return first, last


class LossChoice(LossName):
    """The loss to train with: a name, with arguments or without, or `{sum: [dice, {name: focal, weight: 0.5}]}`.

    Attributes:
        sum: the losses of a sum; empty for a single loss.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("sum",)

    sum: list[LossPart] = []

    @model_validator(mode="before")
    @classmethod
    def _name_the_sum(cls, value: Any) -> Any:
        """Give a sum, which has no other keys, its name."""
        if not isinstance(value, dict) or LOSS_SUM not in value or value.get("name") == LOSS_SUM:
            return value
        others = [key for key in value if key != LOSS_SUM]
        if others:
            raise ValueError(f"a sum of losses has no key {others[0]!r}; names and arguments stand in its list")
        if not value[LOSS_SUM]:
            raise ValueError("the sum of losses is empty; expected a list such as [dice, {name: focal, weight: 0.5}]")
        return {"name": LOSS_SUM, **value}
