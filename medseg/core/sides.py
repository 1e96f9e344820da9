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

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
"""Words of a name; it also splits camelCase and LKidney."""

_LEVEL = re.compile(r"(?<![A-Za-z])[LRlr]\d+")
"""`L1` and `R1`, which may be sides (first ribs) or not (the first lumbar vertebra, and a first rib)."""
_LUMBAR = 6
"""Most lumbar vertebrae of a person; higher numbers after an L are no vertebrae."""
_WORD_OF_SPINE = re.compile(f"{_LEVEL.pattern}|{_WORD.pattern}")


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

    `L1` beside the vertebra T12, or beside L5 and S1, is a vertebra and no side:

    >>> [*sided_pairs(["L1", "R1"])], [*sided_pairs(["T12", "L1", "R1"])]
    ([('L1', 'R1')], [])
    """
    names = list(names)
    pattern = _WORD_OF_SPINE if _names_vertebrae(names) else _WORD
    names_by_rest: dict[tuple[frozenset[str], str], str] = {}  # (the other words, side) -> name
    for name in names:
        words = pattern.findall(name)
        sides = {_SIDES[word.lower()] for word in words if word.lower() in _SIDES}
        if len(sides) != 1:
            continue
        side = sides.pop()
        rest = frozenset(word.lower() for word in words if word.lower() not in _SIDES)
        other = names_by_rest.get((rest, "right" if side == "left" else "left"))
        if other is not None:
            yield (name, other) if side == "left" else (other, name)
        names_by_rest[rest, side] = name


def _names_vertebrae(names: Iterable[str]) -> bool:
    """Return whether names such as `L1` are those of lumbar vertebrae: their neighbours have names, too."""
    words = {word.lower() for name in names for word in re.findall(r"[A-Za-z]+\d+", name)}
    numbers = [int(level[1:]) for name in names for level in _LEVEL.findall(name)]
    return bool({"t12", "th12"} & words or {"l5", "s1"} <= words) and max(numbers, default=0) <= _LUMBAR
