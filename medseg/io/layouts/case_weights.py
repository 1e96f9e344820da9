"""Weights of cases that a data set's own description states, and weight maps that lie beside label files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from medseg.core.case import Case
from medseg.core.errors import DataError
from medseg.core.wording import counted, first_few
from medseg.io.annotations.coco import split_reference
from medseg.io.formats.table import FORMATS, WEIGHT_MAP, split_suffix
from medseg.io.layouts.dataset import LeftOut

WEIGHTS = ("weight", "loss_weight")
"""Keys of a case in a description, as the columns of a table: how often it is drawn, and how much its loss counts."""


def stated_weights(entry: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the weights that the entry of a case states, by the names of the fields of `Case`.

    Args:
        entry: keys and values of the case, or of all of them.
        source: names the entry in messages.

    Raises:
        DataError: a weight is not a number of 0 or more.

    >>> stated_weights({"image": "a.nii.gz", "loss_weight": 0.5}, "dataset.json, case a")
    {'loss_weight': 0.5}
    """
    return {key: _weight(entry[key], key, source) for key in WEIGHTS if entry.get(key) is not None}


def _weight(value: Any, key: str, source: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise DataError(f"{source}: {key} is {value!r}; expected a number of 0 or more.")
    return float(value)


def weigh_by_id(
    cases: Sequence[Case], content: Mapping[str, Any], left_out: Mapping[str, str], source: str
) -> list[Case]:
    """Return cases with the weights that a description states for all of them, as {key: {id: weight}}.

    Args:
        cases: the cases.
        content: the description, with the keys `WEIGHTS` where it states weights.
        left_out: {id: why} of cases that are not among them.
        source: the description, for messages.

    Raises:
        DataError: what is stated is not such a map, a weight is not valid, or there is no such case.
    """
    weights: dict[str, dict[str, Any]] = defaultdict(dict)
    for key in WEIGHTS:
        stated = content.get(key, {})
        if not isinstance(stated, dict):
            raise DataError(f"{source}: {key} is {stated!r}.", f'Expected ids and numbers: "{key}": {{"case_1": 0.5}}.')
        for id, value in stated.items():
            weights[id][key] = _weight(value, key, f"{source}, {id}")
    unknown = sorted(weights.keys() - {case.id for case in cases} - {*left_out})
    if unknown:
        raise DataError(
            f"{source} has weights of {first_few(unknown)}, which is no case here.",
            f"Expected ids such as {first_few(sorted(case.id for case in cases))}.",
        )
    return [replace(case, **weights[case.id]) if case.id in weights else case for case in cases]


def with_maps_beside_labels(cases: Sequence[Case]) -> tuple[list[Case], list[str]]:
    """Return cases with the weight maps that lie beside their label files, and sentences: what was found and left out.

    The map of `labels/a.nii.gz` is `labels/a_weight_map.nii.gz`, or has another suffix of an image. That of a label in
    a JSON file, which is of many images, lies beside its image. A case whose map is stated elsewhere keeps that.

    Args:
        cases: the cases. One whose label file has two maps is left out.
    """

    @cache
    def maps_in(folder: Path) -> dict[str, list[Path]]:
        maps: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.glob(f"*{WEIGHT_MAP}.*")):
            stem, suffix = split_suffix(path)
            if suffix in FORMATS and stem.endswith(WEIGHT_MAP) and not path.name.startswith("."):
                maps[stem.removesuffix(WEIGHT_MAP)].append(path)
        return maps

    weighed: list[Case] = []
    left_out: list[str] = []
    count = 0
    for case in cases:
        owner = _owner_of_map(case)
        if owner is not None and case.weight_map is None:
            stem = owner.name if owner.is_dir() else split_suffix(owner)[0]
            maps = maps_in(owner.parent).get(stem, [])
            if len(maps) > 1:
                names = " and ".join(path.name for path in maps)
                beside = "label" if owner == case.label else "image"
                why = f"it has two weight maps beside its {beside}, {names}; keep one of them"
                left_out.append(LeftOut(case.id, why))
                continue
            if maps:
                case, count = replace(case, weight_map=maps[0]), count + 1
        weighed.append(case)
    note = f"{counted(count, 'weight map')} (*{WEIGHT_MAP}) beside label files: voxels count in the loss as these say"
    return weighed, [*left_out, *[note] * bool(count)]


def _owner_of_map(case: Case) -> Path | None:
    """Return the file or folder that a weight map is named after: the label, or the image of a label in a JSON file."""
    if case.label is not None and split_reference(case.label):
        return case.channels[0]
    return case.label if case.label is not None and case.label.exists() else None
