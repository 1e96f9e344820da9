"""One series with several slices at each position, split into its volumes by what tells them apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.geometry.stacking import basis, lay_out
from medseg.io.dicom.geometry.steps import doubled_steps
from medseg.io.dicom.listing.series import Slice

Parts = list[tuple[str, list[Slice]]]

_BY_VALUE = (
    "stack", "b", "directionality", "direction", "echo", "echo time", "inversion time", "image type", "flip angle",
    "kilovolts", "kernel", "sequence", "time position", "trigger",
)  # fmt: skip
"""Facts that say what a volume is, in the order in which they are tried."""
_IN_VOLUMES = ("acquisition", "acquired", "acquired at")
"""Facts that tell volumes apart, but not single slices: a scanner that repeats one slice makes no volumes."""
_RANKED = ("trigger", "acquired", "acquired at")
"""Times: where they differ from slice to slice, the k-th slice at each position belongs to volume k."""
_MOST_PLACES = 2 / 3
_CONTRASTS = ("b", "echo", "echo time", "inversion time", "kernel")
"""Facts that differ in no volume, not even where each slice lies at a place of its own."""
_SAME_CONTRAST = 0.05
"""Numbers that differ by less of the larger one are one contrast: scanners round them slice by slice."""
_WORDS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}


def split(slices: Sequence[Slice]) -> Parts:
    """Volumes with a name each; a single one without a name where nothing has to be, or can be, told apart.

    A part that still has several slices at one position is not split further: its geometry is refused later.
    """
    if any(one.position is None or one.orientation is None for one in slices):
        return _pictures(slices)
    names = [*_BY_VALUE, *_IN_VOLUMES]
    names += sorted({name for one in slices for name in one.facts if name.startswith("dimension ")})
    return [(", ".join(labels), part) for labels, part in _by_folder(slices) or _split(list(slices), names)]


def _by_folder(slices: Sequence[Slice]) -> list[tuple[list[str], list[Slice]]]:
    """Parts by folder where the same instances lie in several of them, packed otherwise; nothing else is told so."""
    folders: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        folders[one.file.folder].append(one)
    instances = [sorted((one.sop_uid, one.frame or 0) for one in part) for part in folders.values()]
    if len(folders) < 2 or any(part != instances[0] for part in instances) or not instances[0][0][0]:
        return []
    return [([f"in {folder}"], part) for folder, part in sorted(folders.items())]


def _pictures(slices: Sequence[Slice]) -> Parts:
    """Images that do not say where they lie, each for itself; frames of one file stay together."""
    if len(slices) == 1 or any(one.frame is not None or one.position is not None for one in slices):
        return [("", list(slices))]
    ordered = sorted(slices, key=lambda one: (one.instance_number or 0, one.file.name))
    return [(f"image {number}", [one]) for number, one in enumerate(ordered, start=1)]


def _split(slices: list[Slice], names: list[str]) -> list[tuple[list[str], list[Slice]]]:
    """Parts with a label for each fact that made them: each time the first that leaves fewer slices doubled."""
    places = _places(slices)
    doubled = len(slices) - len(set(places))
    for number, name in enumerate(names):
        groups = _groups(slices, places, name)
        if name == "stack" and len(groups) > 1 and min(len(part) for _, part in groups) > 1:
            useful = True  # a stack is a volume by definition, wherever the others lie
        else:
            left = sum(len(part) - len(set(_places(part))) for _, part in groups)
            useful = len(groups) > 1 and left < doubled and _are_volumes(groups, places, name)
            useful = useful or (not doubled and _are_contrasts(groups, name))
        if useful:
            rest = names[number + 1 :]
            return [([label, *labels], part) for label, members in groups for labels, part in _split(members, rest)]
    return [([], slices)]


def _are_volumes(groups: Parts, places: list[int], name: str) -> bool:
    """Whether groups can be volumes: no more of them than slices lie at a position, and for facts that say nothing of
    what a volume is, several slices each, at most of the positions."""
    if len(groups) > _largest(places):
        return False
    count = len(set(places))
    return name not in _IN_VOLUMES or (count > 1 and all(len(part) >= _MOST_PLACES * count for _, part in groups))


def _are_contrasts(groups: Parts, name: str) -> bool:
    """Whether slices at different places show different things, several of each, as of echoes taken in turns."""
    if name not in _CONTRASTS or len(groups) < 2 or min(len(part) for _, part in groups) < 2:
        return False
    found = [part[0].facts.get(name) for _, part in groups]
    numbers = [value for value in found if isinstance(value, (int, float))]
    if len(numbers) == len(found) and max(numbers) - min(numbers) <= _SAME_CONTRAST * max(map(abs, numbers)):
        return False
    slices = [one for _, part in groups for one in part]
    return not any(problem.kind.startswith("mixed") for problem in lay_out(slices).problems)  # these are refused


def _groups(slices: list[Slice], places: list[int], name: str) -> Parts:
    """Slices by the value of a fact, named."""
    values = [_comparable(one.facts.get(name)) for one in slices]
    kinds = sorted(set(values), key=lambda value: (value is not None, value))
    if len(kinds) < 2:
        return []
    if name in _RANKED and len(kinds) != _largest(places):
        return _ranked(slices, places, values)
    parts: dict[Any, list[Slice]] = defaultdict(list)
    for one, value in zip(slices, values, strict=True):
        parts[value].append(one)
    return [(_label(name, kind, number, kinds), parts[kind]) for number, kind in enumerate(kinds, start=1)]


def _ranked(slices: list[Slice], places: list[int], values: list[Any]) -> Parts:
    """The k-th slice at each position; nothing where positions have different numbers of slices or a time twice."""
    by_place: dict[int, list[tuple[Any, int]]] = defaultdict(list)
    for number, (place, value) in enumerate(zip(places, values, strict=True)):
        by_place[place].append((value, number))
    depths = {len(entries) for entries in by_place.values()}
    clear = all(len({value for value, _ in entries} - {None}) == len(entries) for entries in by_place.values())
    if len(depths) != 1 or not clear:
        return []
    ranks = [sorted(entries) for entries in by_place.values()]
    return [(f"time {rank + 1}", [slices[entries[rank][1]] for entries in ranks]) for rank in range(next(iter(depths)))]


def _places(slices: Sequence[Slice]) -> list[int]:
    """A number for each slice, equal for those at one position along one normal."""
    kinds: list[Any] = []
    by_kind: dict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(slices):
        vector = np.array(one.orientation)
        size = max(one.rows, one.columns, 1)
        kind = next(
            (n for n, known in enumerate(kinds) if np.abs(vector - known).max() * size <= GRID_TOLERANCE_VOXELS), None
        )
        if kind is None:
            kind = len(kinds)
            kinds.append(vector)
        by_kind[kind].append(number)
    found = [0] * len(slices)
    place = -1
    for members in by_kind.values():
        normal = basis(slices[members[0]])[:, 2]
        along = np.array([slices[number].position for number in members]) @ normal
        order = np.argsort(along, kind="stable")
        same = np.concatenate([[False], doubled_steps(along[order])])
        for number, is_same in zip(order, same, strict=True):
            place += not is_same
            found[members[number]] = place
    return found


def _largest(places: list[int]) -> int:
    return int(np.bincount(places).max())


def _comparable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(round(one, 6) for one in value)
    return round(value, 6) if isinstance(value, float) else value


def _label(name: str, value: Any, number: int, kinds: list[Any]) -> str:
    """The name of a part: `b=1000`, `echo 2`, `time 3`."""
    if value is None:
        return f"no {name}"
    if name == "b":
        return f"b={value:g}"
    if name == "image type":
        common = set.intersection(*(set((kind or "").split("\\")) for kind in kinds))
        own = [_WORDS.get(part, part.lower()) for part in value.split("\\") if part not in common]
        return " ".join(dict.fromkeys(own)) or f"image type {number}"
    if name in ("time position", "trigger", "acquired", "acquired at"):
        return f"time {number}"
    if name == "echo time":
        return f"echo {number}"
    if name in ("direction", "directionality"):
        return f"direction {number}" if name == "direction" else str(value).lower()
    if name == "kilovolts":
        return f"{value:g} kV"
    if name == "sequence" and (found := re.search(r"b(\d+)", str(value))):
        return f"b={found[1]}"
    if name.startswith("dimension "):
        return f"{name} {value:g}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
