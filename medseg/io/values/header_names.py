"""Compare the names that label files give to their own values, such as `SegmentN_Name` in 3D Slicer's `.seg.nrrd`.

The values follow the order in which segments were drawn, so a structure may have another value in the next file
(MIC-DKFZ/nnUNet#2220). Names that agree over a set name its structures. Where a name has several values, or segments
lie in layers, values mean nothing by themselves, and files are read by their names (`named_masks`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medseg.core.errors import DataError, MedsegError
from medseg.core.machine.parallel import map_cases
from medseg.io.values.named_values import may_name_values, named_values

_MOST_SHOWN = 4


def read_by_name(files: Iterable[Path]) -> bool:
    """Return whether only names tell which structure is which: a name has several values, or segments lie in layers.

    Args:
        files: the label files of a set. Those of other formats, or that cannot be read, are skipped.
    """
    values: dict[str, int] = {}
    for _, segments in map_cases(named_values, [path for path in files if may_name_values(path)]):
        if isinstance(segments, MedsegError):
            continue  # it is named when it is read
        for segment in segments:
            if segment.layer or values.setdefault(segment.name.lower(), segment.value) != segment.value:
                return True
    return False


def names_in_headers(files: Iterable[Path]) -> dict[tuple[str, int], Path]:
    """Return each name with its value that the headers of label files have, and the first file that has it.

    Args:
        files: the label files. Those of other formats, without names, or that cannot be read, are skipped.

    Returns:
        {(name, value): file}; names that differ only in upper and lower case are one, in its first spelling.
    """
    first: dict[tuple[str, int], Path] = {}
    spelling: dict[str, str] = {}
    for path, segments in map_cases(named_values, [path for path in files if may_name_values(path)]):
        if isinstance(segments, MedsegError):
            continue  # it is named when it is read
        for segment in segments:
            name = spelling.setdefault(segment.name.lower(), segment.name)
            first.setdefault((name, segment.value), path)
    return first


def structures_in_headers(files: Iterable[Path]) -> dict[str, int]:
    """Return the structures that the headers of label files name.

    Args:
        files: the label files. Those of other formats, without names, or that cannot be read, are skipped.

    Returns:
        {name: value}, sorted by value; names that differ only in upper and lower case are one.

    Raises:
        DataError: a name has two values, or a value two names.
    """
    first = names_in_headers(files)
    _refuse_contradictions(first)
    return dict(sorted(first, key=lambda pair: pair[1]))


def _refuse_contradictions(first: dict[tuple[str, int], Path]) -> None:
    """Refuse names and values that do not belong to each other one to one; `first` says which file has each pair."""
    for position in (0, 1):
        seen: dict[str | int, tuple[str, int]] = {}
        for pair, path in first.items():
            other = seen.setdefault(pair[position], pair)
            if other == pair:
                continue
            named = [f"{name} is {value} in {first[name, value]}" for name, value in (other, pair)]
            shown = sorted(f"{name}={value}" for name, value in first)[:_MOST_SHOWN]
            raise DataError(
                f"The headers of the label files contradict each other: {named[0]}, and {named[1]} (in all: "
                f"{', '.join(shown)}{', ...' if len(first) > _MOST_SHOWN else ''}).",
                "If the names are right, --segments NAME, repeated, reads every file by its names; several names of "
                f"one structure are given as --segments '{pair[0]}=NAME'. Else correct them in {path.name}.",
            )
