"""Read the names that label files give to their own values: `SegmentN_Name` in the header of 3D Slicer's `.seg.nrrd`.

The values follow the order in which segments were drawn, so a structure may have another value in the next file
(MIC-DKFZ/nnUNet#2220). Names that agree over a set name its structures; names that contradict each other are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medseg.core.errors import DataError, MedsegError
from medseg.core.parallel import map_cases
from medseg.io.formats import nrrd

_SUFFIXES = (".nrrd", ".nhdr")
_MOST_SHOWN = 4


def structures_in_headers(files: Iterable[Path]) -> dict[str, int]:
    """Return the structures that the headers of label files name.

    Args:
        files: the label files. Those of other formats, without names, or that cannot be read, are skipped.

    Returns:
        {name: value}, sorted by value; names that differ only in upper and lower case are one.

    Raises:
        DataError: a name has two values, or a value two names.
    """
    first: dict[tuple[str, int], Path] = {}
    spelling: dict[str, str] = {}
    for path, segments in map_cases(nrrd.segments, [path for path in files if path.name.lower().endswith(_SUFFIXES)]):
        if isinstance(segments, MedsegError):
            continue  # it is named when it is read
        for name, value in segments:
            spelling.setdefault(name.lower(), name)
            first.setdefault((name.lower(), value), path)
    _refuse_contradictions(first, spelling)
    return {spelling[name]: value for name, value in sorted(first, key=lambda pair: pair[1])}


def _refuse_contradictions(first: dict[tuple[str, int], Path], spelling: dict[str, str]) -> None:
    """Refuse names and values that do not belong to each other one to one; `first` says which file has each pair."""
    for position in (0, 1):
        seen: dict[str | int, tuple[str, int]] = {}
        for pair, path in first.items():
            other = seen.setdefault(pair[position], pair)
            if other == pair:
                continue
            named = [f"{spelling[name]} is {value} in {first[name, value]}" for name, value in (other, pair)]
            shown = sorted(f"{spelling[name]}={value}" for name, value in first)[:_MOST_SHOWN]
            raise DataError(
                f"The headers of the label files contradict each other: {named[0]}, and {named[1]} (in all: "
                f"{', '.join(shown)}{', ...' if len(first) > _MOST_SHOWN else ''}).",
                f"Give each structure one value in all files: in 3D Slicer, export {path.name} and the others with one "
                "colour table (Export to files, Use color table values).",
            )
