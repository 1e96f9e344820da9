"""Values of DICOM elements as plain Python values.

Files break the rules of their value representations (PS3.5 6.2) often, so nothing here raises: an element that is
absent, empty or unreadable gives None, an empty text or an empty list. Elements are named by their DICOM keywords.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_MAX_COORDINATE_MM = 1e6
"""Coordinates beyond a kilometre are damaged text, not places in a patient."""
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
_ASCII_TYPES = ("DS", "IS", "CS", "UI", "TM", "DT")
"""Value representations that are ASCII text. They are split here: pydicom's checks of each value take most of the time
of a listing."""


def text(dataset: Dataset, keyword: str) -> str:
    """Return a value as text; several values are joined by a backslash, as DICOM stores them."""
    value = _value(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip(" \0")
    return "\\".join(str(part) for part in value) if isinstance(value, Sequence) else str(value)


def printable(dataset: Dataset, keyword: str) -> str:
    """Return a value as text on one line, without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text(dataset, keyword)).split())


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of an element as a finite number."""
    value = _value(dataset, keyword)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = value[0] if len(value) else None
    return finite(value)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of an element if it is a whole number."""
    value = number(dataset, keyword)
    return None if value is None or value != int(value) else int(value)


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite numbers, or None.

    Args:
        dataset: the data set or the item of a sequence.
        keyword: the element's keyword.
        count: how many values the element must have.
    """
    value = _value(dataset, keyword)
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != count:
        return None
    floats = [finite(part) for part in value]
    return None if None in floats else tuple(part for part in floats if part is not None)


def point(coordinates: tuple[float, ...] | None) -> tuple[float, float, float] | None:
    """Return three coordinates (mm) as a point, or None if they are absent or further away than any patient."""
    if coordinates is None or max(map(abs, coordinates)) > _MAX_COORDINATE_MM:
        return None
    return (coordinates[0], coordinates[1], coordinates[2])


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; an empty list if it is absent."""
    value = _value(dataset, keyword)
    return list(value) if value is not None and hasattr(value, "__iter__") and not isinstance(value, str) else []


def functional_group(groups: Iterable[Dataset], sequence: str) -> Dataset | None:
    """Return the item of a functional group macro for one frame (PS3.3 C.7.6.16.1).

    Args:
        groups: the frame's own item of PerFrameFunctionalGroupsSequence, if there is one, then the item of
            SharedFunctionalGroupsSequence: what a frame states itself goes before what all frames share.
        sequence: keyword of the macro, such as `PlanePositionSequence`.
    """
    return next((sequence_items[0] for group in groups if (sequence_items := items(group, sequence))), None)


def finite(value: Any) -> float | None:
    """Return anything that can be converted to a finite float as that float, or None.

    A decimal comma, which some programs write against the rules, is read as a point: it separates nothing in DICOM.

    >>> finite("1.5"), finite("-1,5"), finite("nan"), finite("ten")
    (1.5, -1.5, None, None)
    """
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()):
        value = value.replace(",", ".")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return the value of an element; None if it is absent, empty, or breaks the rules of its value representation."""
    try:
        raw = dataset.get_item(_tag(keyword))
        vr = getattr(raw, "VR", None) or (None if raw is None else _dictionary_vr(keyword))
        if raw is None or vr not in _ASCII_TYPES or not isinstance(raw.value, bytes):
            return dataset.get(keyword)
        parts = [part.strip(" \0") for part in raw.value.decode("ascii").split("\\")]
        return None if parts == [""] else parts[0] if len(parts) == 1 else parts
    except Exception:  # pydicom raises many types for values that cannot be converted
        return None


@lru_cache(maxsize=256)
def _tag(keyword: str) -> BaseTag:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return Tag(number)


@lru_cache(maxsize=256)
def _dictionary_vr(keyword: str) -> str:
    """Return the value representation of the data dictionary (PS3.6); files in Implicit VR do not state it."""
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(_tag(keyword))
