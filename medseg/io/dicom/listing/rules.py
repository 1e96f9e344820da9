"""The language of rules on series: a number, a key, a UID, or conditions (`Modality=CT,SeriesDescription~T2`)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.core.errors import DataError
from medseg.io.dicom.elements import values
from medseg.io.dicom.elements.paths import KEY_DIGITS
from medseg.io.dicom.elements.series import Listing, Series

_CONDITION = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)\s*(!=|>=|<=|=|~|<|>)(.*)", re.DOTALL)
_COMMA = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9]*\s*(?:!=|>=|<=|=|~|<|>))")
"""A comma that a condition follows: commas within values, as in regular expressions, separate nothing."""
_HINT = (
    "Expected a series number (4), a key (3f2a90c1d4), a SeriesInstanceUID, or rules on attributes, with commas for "
    "'and': Modality=CT,SeriesDescription~T2. Signs: = != ~ (contains; a regular expression) < > <= >=."
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_LISTED: dict[str, Callable[[Series], Any]] = {
    "SeriesNumber": lambda series: series.number,
    "SeriesDescription": lambda series: series.description,
    "Modality": lambda series: series.modality,
    "SeriesInstanceUID": lambda series: series.uid,
    "Split": lambda series: series.volume_name,
    "Plane": lambda series: series.plane,
    "Slices": lambda series: series.shape_zyx[0],
    "SliceSpacing": lambda series: series.spacing_mm[0],
}
"""Attributes that a listing knows, so that no file is read again. Split, Plane, Slices and SliceSpacing are not DICOM
keywords: they are what medseg found."""


@dataclass(frozen=True)
class Condition:
    """A condition on one attribute.

    Attributes:
        keyword: DICOM keyword, or one of `Split`, `Plane`, `Slices`, `SliceSpacing`.
        sign: `=`, `!=`, `~`, `<`, `>`, `<=` or `>=`.
        value: what the attribute is compared with.
    """

    keyword: str
    sign: str
    value: str

    def holds(self, series: Series) -> bool:
        """Return whether a series fulfils the condition; of several values one is enough, and for `!=` none may fit."""
        known = _LISTED.get(self.keyword)
        value = known(series) if known is not None else series.attributes.get(self.keyword)
        stored = value if isinstance(value, list) else [] if value is None else [value]
        if self.sign == "!=":
            return not any(_equal(each, self.value) for each in stored)
        if self.sign == "=":
            return any(_equal(each, self.value) for each in stored) or (not stored and not self.value)
        if self.sign == "~":
            return any(re.search(self.value, str(each), re.IGNORECASE) for each in stored)
        limit = values.finite(self.value)
        numbers = [values.finite(each) for each in stored]
        compare = _COMPARE[self.sign]
        return any(number is not None and limit is not None and compare(number, limit) for number in numbers)


def matching_series(among: Listing | Sequence[Series], rule: str) -> list[Series]:
    """Return the series that a rule fits, in order; an empty list if there is none.

    Args:
        among: a listing, or some series.
        rule: a number, a key, a UID, or conditions separated by commas; `=` and `~` ignore case.

    Raises:
        DataError: it is not a rule, or names no DICOM attribute.
    """
    candidates = among.series if isinstance(among, Listing) else among
    text = rule.strip()
    if not text:
        raise DataError("The rule for series is empty.", _HINT)
    if re.fullmatch(rf"[0-9a-f]{{{KEY_DIGITS}}}", text):
        by_key = [series for series in candidates if series.key == text]
        if by_key or not text.isdigit():  # ten decimal digits may be a key or a series number
            return by_key
    if re.fullmatch(r"[0-9]+", text):
        return [series for series in candidates if series.number == int(text)]
    if re.fullmatch(r"[0-9]+(\.[0-9]+)+", text):
        return [series for series in candidates if series.uid == text]
    conditions = parse_conditions(text)
    return [series for series in candidates if all(condition.holds(series) for condition in conditions)]


def parse_conditions(text: str) -> list[Condition]:
    """Return the conditions of a rule.

    Raises:
        DataError: a part is not a condition, its keyword is unknown, or its regular expression or number is wrong.

    >>> parse_conditions("modality = CT, EchoTime>60")[1]
    Condition(keyword='EchoTime', sign='>', value='60')
    """
    conditions = []
    for part in _COMMA.split(text):
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise DataError(f"{part.strip()!r} in the rule {text!r} is not a condition.", _HINT)
        keyword, sign, value = match[1], match[2], match[3].strip()
        conditions.append(Condition(_spelled(keyword, text), sign, value))
        if sign == "~":
            try:
                re.compile(value)
            except re.error as error:
                hint = "Put a backslash before signs such as ( [ * + that are meant as they stand."
                raise DataError(f"{value!r} in the rule {text!r} is not a regular expression: {error}.", hint) from None
        elif sign in _COMPARE and values.finite(value) is None:
            raise DataError(f"{value!r} in the rule {text!r} is not a number, which {sign} needs.", _HINT)
    return conditions


def _spelled(keyword: str, rule: str) -> str:
    """Return a keyword as DICOM spells it, however its letters are capitalized."""
    from pydicom.datadict import DicomDictionary, tag_for_keyword

    listed = next((name for name in _LISTED if name.lower() == keyword.lower()), None)
    if listed is not None or tag_for_keyword(keyword) is not None:
        return listed or keyword
    known = sorted({entry[4] for entry in DicomDictionary.values()} - {*_LISTED})
    same = next((name for name in known if name.lower() == keyword.lower()), None)
    if same is not None:
        return same
    import difflib

    close = difflib.get_close_matches(keyword, [*known, *_LISTED], n=3)
    suggestion = f"; is one of these meant: {', '.join(close)}?" if close else "."
    raise DataError(f"{keyword!r} in the rule {rule!r} is not a DICOM attribute{suggestion}", _HINT)


def _equal(value: Any, expected: str) -> bool:
    """Return whether a value equals a text, as a number if both are numbers, else without regard to case."""
    if str(value).strip().lower() == expected.lower():
        return True
    number, wanted_number = values.finite(str(value)), values.finite(expected)
    return number is not None and number == wanted_number
