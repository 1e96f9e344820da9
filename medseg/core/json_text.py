"""Parse JSON that may come from anybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_MOST_LEVELS = 100
"""Lists and objects within each other. Files of the field have up to 10; at some 300, copying a value overflows the
stack of the interpreter."""


def parse_json(
    text: str | bytes, object_pairs_hook: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the whole text.
        object_pairs_hook: makes each object from its pairs, as `json.loads` calls it; None for a plain dict.

    Raises:
        ValueError: it is not JSON, or has too many lists and objects within each other.

    >>> parse_json('{"a": [1, null]}')
    {'a': [1, None]}
    """
    problem = f"lists and objects lie within each other in more than {_MOST_LEVELS} levels"
    try:
        value = json.loads(text, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError(problem) from None
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError(problem)
