"""Name the values in label files by their headers, where nothing else declares the structures.

Headers may be stale: a mask that was made from another one often keeps its table of names. So a name counts only where
some label file holds its value, and a value without a name is a structure like the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from medseg.core.errors import MedsegError
from medseg.core.labels import Labels
from medseg.core.machine.parallel import map_cases
from medseg.core.wording import counted, first_few
from medseg.io.images import read_label
from medseg.io.layouts.find import infer_labels
from medseg.io.values.label_values import refuse_soft
from medseg.plans.sections.reading import Reading

_MOST_NAMED = 8
"""More structures than this make an option that nobody types."""


def survey_values(files: Iterable[Path], reading: Reading) -> Counter[int]:
    """Count how many label files hold each value.

    Args:
        files: the label files. One that cannot be read, or is a soft mask, is skipped here and refused when it is read.
        reading: how they are read.

    Returns:
        {value: number of label files that hold it}.
    """
    counts: Counter[int] = Counter()
    for _, values in map_cases(partial(_values, reading=reading), files):
        if not isinstance(values, MedsegError):
            counts.update(values)
    return counts


def _values(path: Path, reading: Reading) -> set[int]:
    array = read_label(path, reading).array
    refuse_soft(array, str(path))
    return {value for plane in array[0] for value in np.unique(plane).tolist()}


def labels_by_headers(
    counts: Mapping[int, int], names: Mapping[str, int], ignore: int | None = None, background: bool = True
) -> tuple[Labels | None, list[str]]:
    """Return the structures of the values that label files hold, named by headers where these name them.

    Args:
        counts: {value: number of label files that hold it}.
        names: {name: value} in the headers (`structures_in_headers`).
        ignore: the value of voxels without annotation, if there is one.
        background: whether 0 is the background; else it is a structure like the others.

    Returns:
        The structures, None where headers name none of the values; and notes on names and values that lack each other.

    Raises:
        DataError: values without a name cannot be structures.

    >>> labels, notes = labels_by_headers({0: 9, 1: 9, 2: 3}, {"liver": 1, "spleen": 5})
    >>> labels.structures
    {'liver': 1, 'label_2': 2}
    """
    values = sorted(counts.keys() - {0 if background else None, ignore})
    used = {value: name for name, value in names.items() if value in values}
    stale = [f"{name} ({value})" for name, value in names.items() if value not in values]
    if not used:
        return None, [f"the headers of the label files name {first_few(stale)}, which no label file holds"] * bool(
            stale
        )
    unnamed = [value for value in values if value not in used]
    if unnamed:
        infer_labels(unnamed, ignore, background)  # refuses too many of them, and those below 0
    known = {name.casefold() for name in names}
    structures = {used.get(value) or _name_of(value, known): value for value in values}
    shown = ", ".join(f"{name} ({value})" for value, name in used.items())
    notes = [f"the headers of the label files name the structures: {shown}"]
    if stale:
        notes.append(
            f"the headers of the label files also name {first_few(stale)}, which no label file holds: left out"
        )
    if unnamed:
        seen = [f"{value} (in {counted(counts[value], 'label file')})" for value in unnamed]
        taken = [name for name, value in structures.items() if value in unnamed]
        notes.append(f"no header of the label files names {first_few(seen)}: taken for {first_few(taken)}")
    return Labels(structures=dict(structures), ignore=ignore, background=0 if background else None), notes


def naming_hint(labels: Labels) -> str:
    """Return the options that name every structure, NAME for those that have no name of their own yet.

    Args:
        labels: the structures, as `labels_by_headers` has them.

    >>> naming_hint(Labels(structures={"liver": 1, "label_2": 2}))
    "--structures 'liver=1' --structures 'NAME=2'"
    """
    shown = [
        f"--structures '{'NAME' if name.rstrip('_') == f'label_{value}' else name}={value}'"
        for name, value in labels.written_values.items()
    ]
    return " ".join(shown) if len(shown) <= _MOST_NAMED else "--structures NAME=VALUE, repeated,"


def _name_of(value: int, known: Collection[str]) -> str:
    """Return a name for a value without one: `label_2`, and with further underscores where that is another's."""
    name = f"label_{value}"
    while name in known:
        name += "_"
    return name


def naming_differences(named: Iterable[tuple[str, int]], declared: Labels) -> list[str]:
    """Return a note on the declared structures that headers call otherwise; [] where they agree.

    Args:
        named: the names and values in headers (`names_in_headers`).
        declared: the structures that count.
    """
    others: dict[int, list[str]] = {}
    for name, value in named:
        others.setdefault(value, []).append(name)
    differing = {
        f"{name} ({value})": [other for other in others.get(value, ()) if other.casefold() != name.casefold()]
        for name, value in declared.written_values.items()
    }
    declared_otherwise = [shown for shown, names in differing.items() if names]
    if not declared_otherwise:
        return []
    in_headers = [
        f"{other} ({value})"
        for names, value in zip(differing.values(), declared.written_values.values(), strict=True)
        for other in names
    ]
    return [
        f"declared are {first_few(declared_otherwise)}; the headers of the label files say {first_few(in_headers)}; "
        "what is declared counts"
    ]
