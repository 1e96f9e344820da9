"""Which folds of which configuration answer together: what selections and packages name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from medseg.core.names import check_name
from medseg.plans.sections.section import Section

_MOST_FOLDS = 100
_Fold = Annotated[str, StringConstraints(pattern=r"^(\d{1,4}|all)$")]


class TrainedFolds(Section):
    """A configuration with folds of it that are trained.

    Attributes:
        configuration: its name, which is also that of a folder.
        folds: names of the folds; a fold that is named twice would be loaded, and count, as often.
    """

    configuration: str
    folds: Annotated[list[_Fold], Field(min_length=1, max_length=_MOST_FOLDS)]

    @field_validator("configuration")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return check_name(value, "configuration")

    @field_validator("folds")
    @classmethod
    def _check_folds(cls, folds: list[str]) -> list[str]:
        if len({*folds}) != len(folds):
            raise ValueError("a fold is named twice")
        return folds
