"""Find the JSON file in a folder that describes a data set, by what it holds; the scans that a description lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.core.errors import DataError
from medseg.core.json_text import parse_json

_MOST_FILES, _MOST_BYTES = 20, 64 << 20
"""A folder with more JSON files holds one for each case; a larger file describes no data set."""


@dataclass(frozen=True)
class ListedScans:
    """The scans that the description of a data set lists, with or without labels.

    Attributes:
        source: the description.
        channels: names of the channels in the order of the files; empty where only the order tells them apart.
        files: {case: its files}.
        problems: {case: why it is left out}.
        beside: the other files that it lists, such as labels and scans for training; None where it lists no files.
    """

    source: Path
    channels: tuple[str, ...]
    files: dict[str, tuple[Path, ...]]
    problems: dict[str, str]
    beside: frozenset[Path] | None = None


def descriptions(
    folder: Path, is_one: Callable[[dict[str, Any]], bool], kind: str, hint: str
) -> tuple[Path, dict[str, Any]] | None:
    """Return the JSON file of a folder that a test recognizes, and its content; None where there is none.

    Args:
        folder: the data set.
        is_one: says whether the content of a file is a description of the kind that is looked for.
        kind: what that kind is called, for messages.
        hint: what to do where there are several.

    Raises:
        DataError: there are several.
    """
    paths = sorted(path for path in folder.glob("*.json") if path.is_file() and path.stat().st_size <= _MOST_BYTES)
    recognized = []
    for path in paths if len(paths) <= _MOST_FILES else ():
        try:
            content = parse_json(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue  # of other programs; the file of a known name is read, and refused, by its own reader
        if isinstance(content, dict) and is_one(content):
            recognized.append((path, content))
    if len(recognized) > 1:
        names = " and ".join(path.name for path, _ in recognized)
        raise DataError(f"{folder} has several files that are a {kind}: {names}.", hint)
    return recognized[0] if recognized else None
