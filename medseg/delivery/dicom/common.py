"""Elements that all written DICOM objects share: their author, their structures, and the series they belong to."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg import __version__
from medseg.core.errors import DataError, MedsegError
from medseg.plans.terminology import Coding

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

RESEARCH = "FOR RESEARCH USE ONLY"
MANUFACTURER = "medseg"
"""What every object that medseg writes says of its origin, as Manufacturer and as ManufacturerModelName."""
NOT_STATED = "not stated"
"""Stands for the name or version of an algorithm that is not known: both must have a value (PS3.3 10.16)."""

_SERIES_FACTOR = 100
_MAX_SOURCE_NUMBER = 1_000_000  # so that the series number stays an integer string (IS, PS3.5 6.2)
_SERIES_OFFSETS = {"SEG": 1, "RTSTRUCT": 2, "SR": 3, "OT": 4}
_LONG_STRING = 64  # characters of the value representation LO (PS3.5 6.2)
_PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#008080", "#9a6324",
    "#ffe119", "#800000", "#808000", "#000075", "#aaffc3", "#fabebe",
)  # fmt: skip


@dataclass(frozen=True)
class Maker:
    """Who or what made the labels.

    Attributes:
        kind: SegmentAlgorithmType of DICOM.
        name: the name of the algorithm; None for manual labels.
        version: the version of the algorithm.
        model: identifies the trained model, if there is one.
    """

    kind: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    name: str | None = None
    version: str | None = None
    model: str | None = None

    @property
    def description(self) -> str:
        """A text for elements of at most 64 characters."""
        return shorten(f"{RESEARCH}: {self.name or self.kind.lower()}")


@dataclass(frozen=True)
class DicomSegment:
    """A structure as DICOM objects show it.

    Attributes:
        number: from 1.
        name: the name of the structure in the plan or label file.
        coding: what it is in DICOM codes.
        values: the values in the label map that make it up.
        tracking_uid: identifies it in all objects made of one label map.
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
        """Return where a label map holds the structure, in the map's shape."""
        return labels == self.values[0] if len(self.values) == 1 else np.isin(labels, self.values)


def make_segments(members: Mapping[str, tuple[int, ...]], codes: Mapping[str, Coding]) -> list[DicomSegment]:
    """Return the structures in order, each with a new tracking UID and a colour of its own.

    Args:
        members: {structure: the values that make it up}.
        codes: {structure: what it is}; where two have one colour, the later one gets one of the palette.
    """
    from pydicom.uid import generate_uid

    segments: list[DicomSegment] = []
    colours: set[str | None] = set()
    for number, (name, values) in enumerate(members.items(), start=1):
        coding = codes[name]
        if coding.colour in colours:
            coding = coding.model_copy(update={"colour": None})
        colours.add(coding.colour)
        segments.append(DicomSegment(number, name, coding, values, str(generate_uid())))
    return segments


def to_code(text: str) -> Code:
    """Return `SCHEME VALUE MEANING` as a code."""
    from pydicom.sr.coding import Code

    scheme, value, meaning = text.split(maxsplit=2)
    return Code(value, scheme, meaning)


def common_header(source: Dataset, modality: Literal["SEG", "RTSTRUCT", "SR", "OT"], maker: Maker) -> dict[str, Any]:
    """Return the elements that identify an object, as the keyword arguments that all objects of highdicom take.

    Args:
        source: the header of an image that the object refers to.
        modality: the modality of the object.
        maker: who made the labels.
    """
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": str(generate_uid()),
        "sop_instance_uid": str(generate_uid()),
        "series_number": _series_number(source, modality),
        "instance_number": 1,
        "series_description": shorten(f"medseg {modality} - {maker.description}"),
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": __version__,
        "device_serial_number": maker.model or "none",
    }


def is_own_object(path: Path) -> bool:
    """Return whether a file is a DICOM object that medseg wrote, which says so in its header (`common_header`).

    Args:
        path: the file; one that cannot be read as DICOM is none of medseg's.
    """
    from medseg.io.dicom.elements import values
    from medseg.io.dicom.elements.dataset import read_dataset
    from medseg.io.dicom.elements.files import File

    keywords = ("Manufacturer", "ManufacturerModelName")
    try:
        header = read_dataset(File(path), tags=keywords)
    except DataError:
        return False
    return all(values.text(header, keyword) == MANUFACTURER for keyword in keywords)


_SINGLE_CHARACTER_SETS = (
    "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127", "ISO_IR 126", "ISO_IR 138",
    "ISO_IR 148", "ISO_IR 203", "ISO_IR 13", "ISO_IR 166", "ISO_IR 192", "GB18030", "GBK",
)  # fmt: skip
"""Terms of SpecificCharacterSet that may stand alone (PS3.3 tables C.12-2 and C.12-5)."""


def character_set(source: Dataset, texts: Sequence[str]) -> str | None:
    """Return the character set to write: the source's, or UTF-8 where that does not do.

    UTF-8 (ISO_IR 192) is needed for texts of ours that are not ASCII, for a source that switches between several sets
    by escape sequences (PS3.3 C.12.1.1.2), which highdicom cannot write, and for terms that cannot stand alone or are
    none ("ISO 2022 IR 100" as the only value, "ISO_IR 6", "UTF-8"): pydicom decodes the names, so they are kept.

    Args:
        source: the header whose names are copied.
        texts: the texts that medseg adds.
    """
    stored = source.get("SpecificCharacterSet")
    if all(text.isascii() for text in texts) and (not stored or str(stored) in _SINGLE_CHARACTER_SETS):
        return str(stored) if stored else None
    return "ISO_IR 192"


def shorten(text: str, max_characters: int = _LONG_STRING) -> str:
    """Return a text that fits an element, without the backslashes and control characters that separate values.

    A hash at the end tells long texts apart that begin alike.

    Args:
        text: any text.
        max_characters: the largest number of characters of the element's value representation.

    >>> shorten("left lung, upper lobe", 16)
    'left lung, ~e1de'
    """
    plain = re.sub(r"[\\\x00-\x1f]+", "/", text).strip() or "-"
    if len(plain) <= max_characters:
        return plain
    mark = f"~{zlib.crc32(plain.encode()) & 0xFFFF:04x}"
    return plain[: max_characters - len(mark)] + mark


@contextmanager
def explaining_failure(what: str) -> Iterator[None]:
    """Turn errors of pydicom and highdicom into a `DataError` without values of the header in it.

    Args:
        what: the object that is made, as the beginning of a sentence.

    Raises:
        DataError: the object cannot be made of this header.
    """
    from medseg.io.dicom.elements.dataset import reason_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values of the header
        try:
            yield
        except (MedsegError, OSError, MemoryError):
            raise
        except Exception as error:
            raise DataError(
                f"{what} cannot be made for this series: {reason_of(error)}.",
                "Its header breaks a rule of the standard; a NIfTI label map can still be written (--write nifti).",
            ) from None


def _series_number(source: Dataset, modality: str) -> int:
    """Return 100 times the number of the source's series, and what is added for the modality."""
    try:
        number = int(source.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return _SERIES_FACTOR * max(0, min(number, _MAX_SOURCE_NUMBER)) + _SERIES_OFFSETS[modality]
