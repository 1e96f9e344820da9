"""Counts and lists in messages."""

from __future__ import annotations

import re
from collections.abc import Sequence


def counted(number: int, what: str) -> str:
    """A count with its noun, which gets an s unless it is one: `1 case`, `2 cases`, `0 entries`."""
    return f"{number} {what}" if number == 1 else f"{number} " + re.sub(r"([^aeiou])y$", r"\1ie", what) + "s"


def first_few(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list: `a, b`, or `a, b, c, d, e, ...` where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
