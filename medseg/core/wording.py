"""Write counts and lists of names in messages."""

from __future__ import annotations

import re
from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    >>> counted(1, "case"), counted(2, "case"), counted(0, "entry")
    ('1 case', '2 cases', '0 entries')
    """
    return f"{number} {noun}" if number == 1 else f"{number} " + re.sub(r"([^aeiou])y$", r"\1ie", noun) + "s"


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, at most `most` of them, with `...` if there are more.

    >>> first_few(["a", "b", "c"]), first_few(["a", "b", "c"], most=2)
    ('a, b, c', 'a, b, ...')
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
