"""Counts in messages."""

from __future__ import annotations

import re


def counted(number: int, what: str) -> str:
    """A count with its noun, which gets an s unless it is one: `1 case`, `2 cases`, `0 entries`."""
    return f"{number} {what}" if number == 1 else f"{number} " + re.sub(r"([^aeiou])y$", r"\1ie", what) + "s"
