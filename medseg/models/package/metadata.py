"""metadata.json of a model package, validated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from medseg.plans.sections import Section

FORMAT: Literal["medseg model"] = "medseg model"
SCHEMA_VERSION = 1


class Member(Section):
    """A member's size and hash."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Stage(Section):
    """A network of the model: its configuration in its plan, and its folds."""

    configuration: str
    folds: Annotated[list[Annotated[str, StringConstraints(pattern=r"^(\d{1,4}|all)$")]], Field(min_length=1)]


class Metadata(Section):
    """What a package says that it is.

    Attributes:
        medseg: the version that wrote it.
        name: of the plan.
        channels: what a scan must have, in order.
        structures: name -> the value that stands for it in answers.
        stages: the model, then the stages before it in a cascade.
        members: every other member of the zip.
    """

    format: Literal["medseg model"]
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]
    medseg: str
    name: str
    channels: list[str]
    structures: dict[str, int]
    stages: Annotated[list[Stage], Field(min_length=1, max_length=4)]
    members: dict[str, Member]
