"""Values of DICOM elements as plain Python: absent, empty and unreadable ones are None, or an empty text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_FURTHEST_MM = 1e6
_PLAIN_TEXT = ("DS", "IS", "CS", "UI", "TM", "DT")
"""Types that are ASCII text: split here, as pydicom's checks of each value take most of the time of a listing."""


def text(found: Dataset, keyword: str) -> str:
    """A value as text; several joined by a backslash, as DICOM does."""
    value = _value(found, keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip(" \0")
    return "\\".join(str(one) for one in value) if isinstance(value, Sequence) else str(value)


def printable(found: Dataset, keyword: str) -> str:
    """A text on one line, without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text(found, keyword)).split())


def number(found: Dataset, keyword: str) -> float | None:
    """The first value as a finite number."""
    value = _value(found, keyword)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = value[0] if len(value) else None
    return finite(value)


def whole(found: Dataset, keyword: str) -> int | None:
    """A whole number."""
    value = number(found, keyword)
    return None if value is None or value != int(value) else int(value)


def numbers(found: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, else None."""
    value = _value(found, keyword)
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != count:
        return None
    found_numbers = [finite(one) for one in value]
    return None if None in found_numbers else tuple(one for one in found_numbers if one is not None)


def vector(three: tuple[float, ...] | None) -> tuple[float, float, float] | None:
    """Three numbers as a point; None for one that is further away than any patient."""
    if three is None or max(map(abs, three)) > _FURTHEST_MM:
        return None
    return (three[0], three[1], three[2])


def items(found: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent."""
    value = _value(found, keyword)
    return list(value) if value is not None and hasattr(value, "__iter__") and not isinstance(value, str) else []


def finite(value: Any) -> float | None:
    """A finite float of anything that is one."""
    try:
        one = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return one if math.isfinite(one) else None


def _value(found: Dataset, keyword: str) -> Any:
    """The value of an element, None where it is absent, empty, or breaks the rules of its type."""
    try:
        raw = found.get_item(_tag(keyword))
        vr = getattr(raw, "VR", None) or (None if raw is None else _type(keyword))
        if raw is None or vr not in _PLAIN_TEXT or not isinstance(raw.value, bytes):
            return found.get(keyword)
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
def _type(keyword: str) -> str:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(_tag(keyword))
