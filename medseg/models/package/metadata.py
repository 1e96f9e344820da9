"""The schema of metadata.json in a model package."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from medseg.plans.sections.section import Section
from medseg.plans.sections.trained_folds import TrainedFolds

FORMAT: Literal["medseg model"] = "medseg model"
SCHEMA_VERSION = 3
"""Version 1 holds a single model; version 2 also a selection, and other models that answer with it; version 3 also how
folds are computed in 8 bits."""


class Member(Section):
    """A file in the package.

    Attributes:
        bytes: its size.
        sha256: its hash, in hexadecimal digits.
    """

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Stage(TrainedFolds):
    """A stage of the model: the configuration of its plan that was trained, and its folds."""


class Metadata(Section):
    """The content of metadata.json, by which a package describes itself.

    Attributes:
        format: always "medseg model".
        schema_version: the schema version of this file.
        medseg: the version that wrote it.
        name: the name of the plan.
        channels: what a scan must have, in order.
        structures: {name: its value in answers}.
        stages: the model, then the stages before it in a cascade.
        others: the stages of each other model that answers with it.
        members: every other member of the zip.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = ("others",)

    format: Literal["medseg model"]
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]
    medseg: str
    name: str
    channels: list[str]
    structures: dict[str, int]
    stages: Annotated[list[Stage], Field(min_length=1, max_length=4)]
    others: Annotated[list[Annotated[list[Stage], Field(min_length=1, max_length=4)]], Field(max_length=15)] = Field([])
    members: dict[str, Member]
