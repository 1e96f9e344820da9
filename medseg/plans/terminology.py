"""DICOM codes of structures: the concept of a structure as scheme, value and meaning, in plans and in code files."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from medseg.plans.sections.section import Section


def _check_code(text: str) -> str:
    """Refuse what is not a code, and return one with single spaces; DICOM's LO and SH types limit the lengths."""
    parts = text.split(maxsplit=2)
    if len(parts) < 3 or len(parts[0]) > 16 or len(parts[1]) > 16 or len(parts[2]) > 64 or "\\" in text:
        raise ValueError("expected SCHEME VALUE MEANING, such as SCT 10200004 Liver (16, 16 and 64 characters at most)")
    return " ".join(parts)


Coded = Annotated[str, AfterValidator(_check_code)]
"""A code as text: scheme, value and meaning, such as `SCT 10200004 Liver`."""


class Coding(Section):
    """What a structure is, in DICOM codes.

    Attributes:
        category: category of the structure (DICOM PS3.16, CID 7150), such as anatomical structure.
        type: the structure itself.
        modifiers: modifiers of the type, such as left or anterior.
        region: where a tumour or a lesion lies; None for a structure of the anatomy.
        region_modifiers: modifiers of the region.
        colour: `#rrggbb`, recommended for display.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Coded
    type: Coded
    modifiers: tuple[Coded, ...] = ()
    region: Coded | None = None
    region_modifiers: tuple[Coded, ...] = ()
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")] | None = None
