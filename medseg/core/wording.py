"""Write counts and lists of names in messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence


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


def summary_line(result: object, *parts: object, failed: Collection[str] = ()) -> str:
    """Return a result of the Python API as one short line, for its `repr`.

    Args:
        result: the result; its class gives the name.
        parts: what matters most about it, in order.
        failed: the cases that failed; their number is said if there are any.

    >>> summary_line(Exception(), "runs/fold_0", "3 steps", failed=["case_1"])
    '<Exception: runs/fold_0, 3 steps, 1 failed>'
    """
    parts = (*parts, f"{len(failed)} failed") if failed else parts
    return f"<{type(result).__name__}: {', '.join(map(str, parts))}>"
