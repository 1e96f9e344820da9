"""Series chosen by UID, number, key, or rules on attributes: `Modality=CT,SeriesDescription~T2`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.listing.series import KEY_DIGITS, Listing, Series

_RULE = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*(!=|>=|<=|=|~|<|>)(.*)", re.DOTALL)
_START = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9]*\s*(?:!=|>=|<=|=|~|<|>))")
_HINT = (
    "Expected a series number (4), a key (3f2a90c1d4), a SeriesInstanceUID, or rules on attributes, with commas for "
    "'and': Modality=CT,SeriesDescription~T2. Signs: = != ~ (contains; a regular expression) < > <= >=."
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
}
_OWN: dict[str, Callable[[Series], Any]] = {
    "SeriesNumber": lambda one: one.number,
    "SeriesDescription": lambda one: one.description,
    "Modality": lambda one: one.modality,
    "SeriesInstanceUID": lambda one: one.uid,
    "Split": lambda one: one.split,
    "Plane": lambda one: one.plane,
    "Slices": lambda one: one.shape_zyx[0],
    "SliceSpacing": lambda one: one.spacing_mm[0],
}
"""Known without reading a file again. Split, Plane, Slices and SliceSpacing are no DICOM elements: what was found."""


@dataclass(frozen=True)
class Condition:
    """A rule on one attribute: keyword, sign, and what it is compared with."""

    keyword: str
    sign: str
    value: str


def choose(among: Listing | Sequence[Series], rule: str) -> list[Series]:
    """The series that a rule fits, in order; an empty list if there is none.

    Args:
        among: a listing, or some series.
        rule: a number, a key, a UID, or conditions with commas between; `=` and `~` take no notice of case. Of an
            attribute with several values, one that fits is enough, and none may for `!=`.

    Raises:
        DataError: it is no rule, or names no DICOM attribute.
    """
    series = among.series if isinstance(among, Listing) else among
    text = rule.strip()
    if not text:
        raise DataError("The rule for series is empty.", _HINT)
    if re.fullmatch(rf"[0-9a-f]{{{KEY_DIGITS}}}", text):
        by_key = [one for one in series if one.key == text]
        if by_key or not text.isdigit():
            return by_key
    if re.fullmatch(r"[0-9]+", text):
        return [one for one in series if one.number == int(text)]
    if re.fullmatch(r"[0-9]+(\.[0-9]+)+", text):
        return [one for one in series if one.uid == text]
    conditions = parse_rule(text)
    return [one for one in series if all(_fits(one, condition) for condition in conditions)]


def parse_rule(text: str) -> list[Condition]:
    """The conditions of a rule.

    Raises:
        DataError: a part is none, its keyword is unknown, or its regular expression or number is wrong.
    """
    conditions = []
    for part in _START.split(text):
        match = _RULE.fullmatch(part)
        if match is None:
            raise DataError(f"{part.strip()!r} in the rule {text!r} is no condition.", _HINT)
        keyword, sign, value = match[1], match[2], match[3].strip()
        conditions.append(Condition(_known(keyword, text), sign, value))
        if sign == "~":
            try:
                re.compile(value)
            except re.error as error:
                hint = "Put a backslash before signs such as ( [ * + that are meant as they stand."
                raise DataError(f"{value!r} in the rule {text!r} is no regular expression: {error}.", hint) from None
        elif sign in _COMPARE and values.finite(value) is None:
            raise DataError(f"{value!r} in the rule {text!r} is no number, which {sign} needs.", _HINT)
    return conditions


def _known(keyword: str, rule: str) -> str:
    """The keyword as DICOM spells it."""
    from pydicom.datadict import DicomDictionary, tag_for_keyword

    own = next((name for name in _OWN if name.lower() == keyword.lower()), None)
    if own is not None or tag_for_keyword(keyword) is not None:
        return own or keyword
    known = sorted({entry[4] for entry in DicomDictionary.values()} - {*_OWN})
    same = next((name for name in known if name.lower() == keyword.lower()), None)
    if same is not None:
        return same
    import difflib

    close = difflib.get_close_matches(keyword, [*known, *_OWN], n=3)
    also = f"; is one of these meant: {', '.join(close)}?" if close else "."
    raise DataError(f"{keyword!r} in the rule {rule!r} is no DICOM attribute{also}", _HINT)


def _fits(one: Series, condition: Condition) -> bool:
    own = _OWN.get(condition.keyword)
    value = own(one) if own is not None else one.attributes.get(condition.keyword)
    found = value if isinstance(value, list) else [] if value is None else [value]
    if condition.sign == "!=":
        return not any(_equal(each, condition.value) for each in found)
    if condition.sign == "=":
        return any(_equal(each, condition.value) for each in found) or (not found and not condition.value)
    if condition.sign == "~":
        return any(re.search(condition.value, str(each), re.IGNORECASE) for each in found)
    number = values.finite(condition.value)
    numbers = [values.finite(each) for each in found]
    return any(each is not None and number is not None and _COMPARE[condition.sign](each, number) for each in numbers)


def _equal(value: Any, wanted: str) -> bool:
    if str(value).strip().lower() == wanted.lower():
        return True
    one, other = values.finite(str(value)), values.finite(wanted)
    return one is not None and one == other
