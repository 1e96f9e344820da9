"""Recognize a path with blanks that was typed without quotation marks, which a shell hands on as several words."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from itertools import takewhile

_MOST_PIECES = 20
"""In more pieces no path is looked for: hundreds of words, as a shell's `*` makes them, would take seconds."""

QUOTATION = "A path with blanks needs quotation marks."


def unquoted_path(words: Sequence[str]) -> str | None:
    """Return a path that exists and lies in pieces among the words, of which the first is no path itself.

    Args:
        words: what was typed after the verb.

    Returns:
        The longest such path of at most 20 pieces; None where there is none.
    """
    for first, word in enumerate(words):
        if word.startswith("-") or os.path.exists(word):
            continue
        pieces = [*takewhile(lambda piece: not piece.startswith("-"), words[first : first + _MOST_PIECES])]
        for last in range(len(pieces), 1, -1):
            if os.path.exists(joined := " ".join(pieces[:last])):
                return joined
    return None


def explain_unquoted(words: Sequence[str]) -> str | None:
    """Return what to type for a path with blanks that lies in pieces among the words; None where there is none."""
    path = unquoted_path(words)
    return None if path is None else f"{path} was typed as several words. {QUOTATION[:-1]}: {shlex.quote(path)}"
