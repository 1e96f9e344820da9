"""Find structures that are named after sides of the body, which mirroring from left to right would exchange."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SIDES = {
    "left": "left",
    "l": "left",
    "lt": "left",
    "lh": "left",
    "right": "right",
    "r": "right",
    "rt": "right",
    "rh": "right",
}


def sided_pair(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that differ only in left and right, the left one first; None if there are none.

    >>> sided_pair(["spleen", "kidney_left", "Right Kidney"])
    ('kidney_left', 'Right Kidney')
    """
    return next(sided_pairs(names), None)


def sided_pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield every two names that differ only in left and right, the left one first.

    >>> [*sided_pairs(["lung_r", "kidney_left", "lung_l", "kidney_right"])]
    [('lung_l', 'lung_r'), ('kidney_left', 'kidney_right')]
    """
    names_by_rest: dict[tuple[frozenset[str], str], str] = {}  # (the other words, side) -> name
    for name in names:
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)  # also splits camelCase and LKidney
        sides = {_SIDES[word.lower()] for word in words if word.lower() in _SIDES}
        if len(sides) != 1:
            continue
        side = sides.pop()
        rest = frozenset(word.lower() for word in words if word.lower() not in _SIDES)
        other = names_by_rest.get((rest, "right" if side == "left" else "left"))
        if other is not None:
            yield (name, other) if side == "left" else (other, name)
        names_by_rest[rest, side] = name
