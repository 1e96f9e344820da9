"""What every DICOM object that is written here has in common: who made it, for what, and in which series it lies."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg import __version__
from medseg.core.errors import DataError, MedsegError
from medseg.plans.terminology import Coding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

RESEARCH = "FOR RESEARCH USE ONLY"
SERIES_STEP = 100
"""Series numbers of what is written lie behind 100 times that of the source."""

_LONG_STRING = 64
_PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#008080", "#9a6324",
    "#ffe119", "#800000", "#808000", "#000075", "#aaffc3", "#fabebe",
)  # fmt: skip


@dataclass(frozen=True)
class Maker:
    """How labels came about.

    Attributes:
        kind: AUTOMATIC, SEMIAUTOMATIC or MANUAL, as DICOM has it.
        name: of the algorithm; None for manual labels.
        version: of the algorithm.
        model: what identifies the trained model, where there is one.
    """

    kind: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    name: str | None = None
    version: str | None = None
    model: str | None = None

    @property
    def described(self) -> str:
        """For descriptions of 64 characters at most."""
        return shortened(f"{RESEARCH}: {self.name or self.kind.lower()}")


@dataclass(frozen=True)
class Segment:
    """A structure as DICOM objects show it.

    Attributes:
        number: from 1.
        name: the structure's name here.
        coding: what it is in coded words.
        values: the values in the label map that make it up.
        tracking_uid: identifies it in all objects of one answer.
    """

    number: int
    name: str
    coding: Coding
    values: tuple[int, ...]
    tracking_uid: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour of its codes, else one of a palette, by its number."""
        text = self.coding.colour or _PALETTE[(self.number - 1) % len(_PALETTE)]
        red, green, blue = bytes.fromhex(text[1:])
        return red, green, blue

    def mask(self, labels: NDArray) -> NDArray[np.bool_]:
        """Where a label map holds it."""
        return labels == self.values[0] if len(self.values) == 1 else np.isin(labels, self.values)


def segments_of(members: Mapping[str, tuple[int, ...]], codes: Mapping[str, Coding]) -> list[Segment]:
    """The structures in order, each with a new tracking UID; alike ones get different colours of the palette."""
    from pydicom.uid import generate_uid

    segments: list[Segment] = []
    colours: set[str | None] = set()
    for number, (name, values) in enumerate(members.items(), start=1):
        coding = codes[name]
        if coding.colour in colours:
            coding = coding.model_copy(update={"colour": None})
        colours.add(coding.colour)
        segments.append(Segment(number, name, coding, values, str(generate_uid())))
    return segments


def code(text: str) -> Code:
    """`SCHEME VALUE MEANING` as a code."""
    from pydicom.sr.coding import Code

    scheme, value, meaning = text.split(maxsplit=2)
    return Code(value, scheme, meaning)


def series_number(source: Dataset, which: int) -> int:
    """Number of a written series: 100 times the source's, and 1 for a SEG, 2 for an RTSTRUCT, 3 for a report."""
    try:
        number = int(source.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return SERIES_STEP * max(0, min(number, 1_000_000)) + which


def equipment(maker: Maker) -> dict[str, str]:
    """The elements that say which program wrote an object."""
    return {
        "manufacturer": "medseg",
        "manufacturer_model_name": "medseg",
        "software_versions": __version__,
        "device_serial_number": maker.model or "none",
    }


def character_set(source: Dataset, texts: Sequence[str]) -> str | None:
    """The source's character set, or UTF-8 where a text of ours needs it or the source switches between several."""
    found = source.get("SpecificCharacterSet")
    if all(text.isascii() for text in texts) and (not found or isinstance(found, str)):
        return found or None
    return "ISO_IR 192"


def shortened(text: str, most: int = _LONG_STRING) -> str:
    """A text that fits, without what separates values; a hash at its end tells long ones apart that begin alike."""
    plain = re.sub(r"[\\\x00-\x1f]+", "/", text).strip() or "-"
    if len(plain) <= most:
        return plain
    mark = f"~{zlib.crc32(plain.encode()) & 0xFFFF:04x}"
    return plain[: most - len(mark)] + mark


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Errors of the libraries underneath as a `DataError`, without values of the header in it.

    Raises:
        DataError: `what` could not be made of this header.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values of the header
        try:
            yield
        except (MedsegError, OSError, MemoryError):
            raise
        except Exception as error:
            reason = re.sub(r"\d+(\.\d+){3,}", "(a UID)", " ".join(str(error).split()))
            reason = re.sub(r"(['\"]).*?\1", "...", reason)[:200]
            raise DataError(
                f"{what} cannot be made for this series: {reason or type(error).__name__}.",
                "Its header breaks a rule of the standard; the label map as NIfTI needs none of it.",
            ) from None


def header_of(source: Dataset, modality: str, maker: Maker, which: int) -> dict[str, Any]:
    """Keyword arguments that all objects of highdicom take."""
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": str(generate_uid()),
        "sop_instance_uid": str(generate_uid()),
        "series_number": series_number(source, which),
        "instance_number": 1,
        "series_description": shortened(f"medseg {modality} - {maker.described}"),
        **equipment(maker),
    }
