"""What all sections of the plan share: unknown keys are errors, and ranges of numbers that a plan may have."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
# Limits that no sensible plan comes near. Without them an absurd number ends in an error of torch's, or in no end.
_Amount = Annotated[float, Field(ge=0, le=1000)]
_Factor = Annotated[float, Field(ge=0.001, le=1000)]


def _check_order(limits: list[float]) -> list[float]:
    """Refuse a range whose lower limit is above the upper one."""
    if limits[0] > limits[1]:
        raise ValueError("expected [smallest, largest]")
    return limits


Range = Annotated[list[_Amount], Field(min_length=2, max_length=2), AfterValidator(_check_order)]
PositiveRange = Annotated[list[_Factor], Field(min_length=2, max_length=2), AfterValidator(_check_order)]


def _check_is_text(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse texts that no file can hold: JSON and YAML may name half of a character."""
    try:
        json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start : error.end]!r} is not a character") from None
    return values


def check_lengths(record: BaseModel, *keys: str) -> None:
    """Refuse a record whose lists belong together and are not equally long.

    Args:
        record: has the lists.
        keys: names of the lists.

    Raises:
        ValueError: they are not; the message says how long each is.
    """
    lengths = {key: len(getattr(record, key)) for key in keys}
    if len({*lengths.values()}) > 1:
        stated = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise ValueError(f"expected lists of equal length; {stated}")


Values = Annotated[dict[str, Any], AfterValidator(_check_is_text)]
"""Keys and values of which the schema knows nothing."""


class Section(BaseModel):
    """A part of the plan; unknown keys are errors.

    Attributes:
        OPTIONAL_KEYS: keys that are left out of a written plan while they have their default, so that plans, and the
            hashes that name cached cases, stay as they were before these keys existed.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> Any:
        """Return the values by key, without optional keys that have their default."""
        values: dict[str, Any] = handler(self)
        for key in self.OPTIONAL_KEYS:
            if getattr(self, key) == type(self).model_fields[key].default:
                values.pop(key, None)
        return values
