"""Structures named after sides of the body: mirroring would turn one into the other."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
    """Two names that differ in left and right alone (`kidney_left`, `Right Kidney`, `L-kidney`), or None."""
    seen: dict[tuple[frozenset[str], str], str] = {}
    for name in names:
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
        sides = {_SIDES[word.lower()] for word in words if word.lower() in _SIDES}
        if len(sides) != 1:
            continue
        side = sides.pop()
        rest = frozenset(word.lower() for word in words if word.lower() not in _SIDES)
        other = seen.get((rest, "right" if side == "left" else "left"))
        if other is not None:
            return (name, other) if side == "left" else (other, name)
        seen[rest, side] = name
    return None
