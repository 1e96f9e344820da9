"""The key `training.deep_supervision`: which answers of a network the loss looks at."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from medseg.plans.sections.section import NonNegative, Section

BOOL_FORM, LEVELS_FORM = "(true or false)", "(levels)"
"""Tags of the two forms of `training.deep_supervision`; `problems` leaves them out of keys."""


class SupervisedLevels(Section):
    """Which answers of a network the loss looks at, and how much each counts.

    Attributes:
        levels: positions in the network's list of answers, 0 the full resolution, which predicts and must be there.
        weights: of these levels; they are divided by their sum. Empty for nnU-Net's: half for each further level.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("weights",)

    levels: Annotated[list[Annotated[int, Field(ge=0, le=31)]], Field(min_length=1)]
    weights: list[NonNegative] = []

    @model_validator(mode="after")
    def _check(self) -> SupervisedLevels:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels {self.levels} names a level twice")
        if self.weights and len(self.weights) != len(self.levels):
            raise ValueError(f"weights has {len(self.weights)} entries for {len(self.levels)} levels")
        if self.by_level[0] == 0:
            raise ValueError(
                "level 0 is the full resolution, which predicts; expected it among the levels, with a weight above 0"
            )
        return self

    @property
    def by_level(self) -> list[float]:
        """The weight of each level from 0 to the coarsest that is named, 0 for those between; their sum is 1."""
        weights = self.weights or [0.5**level for level in self.levels]
        named = dict(zip(self.levels, weights, strict=True))
        total = sum(weights) or 1.0
        return [named.get(level, 0.0) / total for level in range(max(self.levels) + 1)]


def supervision_form(value: Any) -> str:
    """Return the tag of the form that `training.deep_supervision` has, so that its problems are those of one form."""
    return LEVELS_FORM if isinstance(value, dict | SupervisedLevels) else BOOL_FORM
