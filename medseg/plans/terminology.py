"""What structures are in coded words, as a plan and a file of labels say it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from medseg.plans.sections import Section


def _coded(text: str) -> str:
    parts = text.split(maxsplit=2)
    if len(parts) < 3 or len(parts[0]) > 16 or len(parts[1]) > 16 or len(parts[2]) > 64 or "\\" in text:
        raise ValueError("expected SCHEME VALUE MEANING, such as SCT 10200004 Liver (16, 16 and 64 characters at most)")
    return " ".join(parts)


Coded = Annotated[str, AfterValidator(_coded)]
"""A coded word as text: scheme, value, meaning."""


class Coding(Section):
    """What a structure is in coded words, for DICOM objects.

    Attributes:
        category: of the segmented property (DICOM PS3.16, CID 7150).
        type: the segmented property itself.
        modifiers: of the type, such as left or anterior.
        region: where a tumour or a lesion lies; None for what is anatomy itself.
        region_modifiers: of the region.
        colour: `#rrggbb`, recommended for display.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Coded
    type: Coded
    modifiers: tuple[Coded, ...] = ()
    region: Coded | None = None
    region_modifiers: tuple[Coded, ...] = ()
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")] | None = None
