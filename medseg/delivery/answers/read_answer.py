"""Read an answer or a reference with the values of its structures, also where these are known by names alone.

Masks for each structure have no values, DICOM objects number their segments from 1, whatever the values are, and a
`.seg.nrrd` with layers holds 1 in each of them: what they hold means nothing without the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.labels import Labels
from medseg.delivery.answers.formats import value_names
from medseg.io.annotations.coco import split_reference
from medseg.io.formats.table import is_dicom
from medseg.io.images import read_label
from medseg.io.several_files import is_by_structure
from medseg.io.values.named_masks import draw_named_masks, structure_names, values_by_number
from medseg.io.values.named_values import may_name_values, named_values
from medseg.io.values.overlay import Together, set_key
from medseg.plans.sections.reading import Reading

_MOST_VALUES = 1 << 20
"""More than any file has structures."""


def known_by_name(path: Path) -> bool:
    """Return whether the structures of a label file are known by names alone: DICOM, COCO, layers, masks for each."""
    if is_dicom(path) or is_by_structure(path) or split_reference(path):
        return True
    return path.is_file() and may_name_values(path) and any(segment.layer for segment in named_values(path))


def read_answer(path: Path, labels: Labels, grid: Image) -> Image:
    """Read an answer as a label map (1, z, y, x) with the values that it would have as a label file.

    Args:
        path: a label file, or a DICOM SEG or RTSTRUCT.
        labels: its structures; names in the file that are none of them are left out.
        grid: the scan, on whose grid DICOM objects are drawn.

    Returns:
        The label map, on the grid of the file or, for DICOM objects, of the scan.

    Raises:
        DataError: it cannot be read, or holds overlaps that no value of `labels` stands for.
    """
    if not known_by_name(path):
        return read_label(path, grid=grid)
    numbers = _numbers(labels.names, path)
    value_of: dict[Together, int] = {}
    for value in (*labels.written_values.values(), *labels.values[1:]):
        together = frozenset(numbers[name] for name, members in labels.members.items() if value in members)
        value_of.setdefault(together, value)
    alone = [value_of.get(frozenset([numbers[name]]), value) for name, value in labels.written_values.items()]
    values, overlaps = [labels.background or 0, *alone], {}
    for together, value in value_of.items():
        if len(together) > 1:
            overlaps[set_key(together)] = len(values)
            values.append(value)
    try:
        label = read_label(path, Reading(segments=numbers, overlaps=overlaps or "refuse"), grid)
    except DataError as error:
        if error.kind == "overlap":  # the hint speaks of plans
            error.hint = (
                "The declared structures (--structures, or labels.json beside the file) have no value for both. "
                "`medseg view` shows a copy of the file in a folder of its own."
            )
        raise
    return label.with_array(np.asarray(values, np.int32)[label.array])


def labels_in(path: Path, grid: Image, known: Mapping[int, str]) -> Labels | None:
    """Return the structures of a file that knows them by name, where nothing beside it declares them.

    Args:
        path: the file.
        grid: the scan, on whose grid DICOM objects are drawn.
        known: {value: name} of other files: a name has the same value here; others get values that are free.

    Returns:
        The structures, with a value for each set of them that overlaps somewhere; None where the file names none.

    Raises:
        DataError: it cannot be read.
    """
    names = _names(path)
    if not names:
        return None
    free = iter(range(max([0, *known]) + 1, _MOST_VALUES))
    value_of = {name: value for value, name in known.items()}
    values = {name: value_of[name] if name in value_of else next(free) for name in names}
    numbers = _numbers(names, path)
    together = [names_of for names_of in _sets(path, Reading(segments=numbers), grid, names) if len(names_of) > 1]
    shared = {names_of: value_of.get(" + ".join(names_of)) or next(free) for names_of in together}
    if not shared:
        return Labels(structures=dict(values))
    members = {name: [value, *(v for n, v in shared.items() if name in n)] for name, value in values.items()}
    return Labels(structures=dict(members), activation="sigmoid", region_values=[*values.values()])


def names_in(path: Path, labels: Labels) -> tuple[list[str], list[str]]:
    """Return the names of the structures in a file that knows them by name, and those of `labels` that it lacks.

    Args:
        path: the file; names are looked up in it as `read_answer` does.
        labels: the declared structures.

    Raises:
        DataError: it cannot be read.
    """
    names, numbers = _names(path), _numbers(labels.names, path)
    there = {*values_by_number(dict(enumerate(names, start=1)), numbers).values()}
    return names, [name for name in labels.names if numbers[name] not in there]


def with_names_in(path: Path, labels: Labels, known: Mapping[int, str]) -> Labels:
    """Return structures, and those that a file names beside them, with values that are free.

    Args:
        path: a file that knows its structures by name.
        labels: the declared structures.
        known: {value: name} of other files: a name has the same value here.
    """
    declared = {name.lower() for name in _numbers(labels.names, path)}
    others = [name for name in _names(path) if name.lower() not in declared]
    if not others:
        return labels
    taken = [0, *known, *labels.values, *labels.written_values.values(), labels.ignore or 0]
    value_of = {name: value for value, name in known.items() if value not in labels.values}
    free = iter(range(max(taken) + 1, _MOST_VALUES))
    values = {name: value_of[name] if name in value_of else next(free) for name in others}
    as_declared: dict[str, int | list[int]] = {name: [value] for name, value in values.items()}
    if labels.region_values is None:
        return Labels.model_validate({**labels.model_dump(), "structures": {**labels.structures, **values}})
    changed = {
        "structures": {**labels.structures, **as_declared},
        "region_values": [*labels.region_values, *values.values()],
    }
    return Labels.model_validate({**labels.model_dump(), **changed})


def names_of_values(labels: Labels) -> dict[int, str]:
    """Return {value: the structures that its voxels belong to}, those that answers hold first.

    >>> names_of_values(Labels(structures={"a": [1, 3], "b": [2, 3]}, activation="sigmoid", region_values=[1, 2]))
    {1: 'a', 2: 'b', 3: 'a + b'}
    """
    names = value_names(labels)
    for value in labels.values[1:]:
        names.setdefault(value, " + ".join(name for name, members in labels.members.items() if value in members))
    return names


def _numbers(names: Iterable[str], path: Path) -> dict[str, int]:
    """Return {name: its number}, from 1, also of names as DICOM shortens them."""
    numbers = {name: number for number, name in enumerate(names, start=1)}
    if not is_dicom(path):
        return numbers
    from medseg.delivery.dicom.common import shorten  # loaded only for DICOM

    return {**numbers, **{shorten(name): number for name, number in numbers.items() if shorten(name) not in numbers}}


def _names(path: Path) -> list[str]:
    """Return the names of the structures in a file."""
    if not is_dicom(path):
        return list(dict.fromkeys(structure_names(path)))
    from medseg.io.dicom.elements.paths import file_at  # loaded only for DICOM
    from medseg.io.dicom.labels import label_objects

    file = file_at(path)
    return [] if file is None else list(dict.fromkeys(label_objects.structure_names(file)))


def _sets(path: Path, reading: Reading, grid: Image, names: list[str]) -> list[tuple[str, ...]]:
    """Return the sets of structures that share voxels of a file, by their names in the order of the file."""
    if is_dicom(path):
        from medseg.io.dicom.elements.paths import file_at  # loaded only for DICOM
        from medseg.io.dicom.labels.label_objects import draw_structures

        file = file_at(path)
        overlay = None if file is None else draw_structures(file, reading, grid)[0]
    else:
        overlay = draw_named_masks(path, reading, read_label, grid)[0]
    counts = {} if overlay is None else overlay.counts()
    return sorted(tuple(names[number - 1] for number in sorted(together)) for together in counts)
