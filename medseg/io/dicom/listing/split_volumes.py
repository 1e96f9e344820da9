"""Split a series with several slices at each position into its volumes, by the attribute that tells them apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.elements.series import Slice
from medseg.io.dicom.geometry.stacking import plane_axes, same_position_steps, stack_geometry

Volumes = list[tuple[str, list[Slice]]]
"""The name of each volume, and its slices."""

_BY_VALUE = (
    "stack", "b", "directionality", "direction", "echo", "echo time", "inversion time", "image type", "flip angle",
    "kilovolts", "kernel", "sequence", "time position", "trigger",
)  # fmt: skip
"""Acquisition attributes that say what a volume is, in the order in which they are tried: the more specific first."""
_BY_ACQUISITION = ("acquisition", "acquired", "acquired at")
"""Attributes that tell volumes apart, but not single slices: a scanner that repeats one slice makes no volumes."""
_RANKED = ("trigger", "acquired", "acquired at")
"""Times: where they differ from slice to slice, the k-th slice at each position belongs to volume k."""
_MIN_COVERAGE = 2 / 3
"""Share of the positions that each volume made by `_BY_ACQUISITION` must cover."""
_CONTRASTS = ("b", "echo", "echo time", "inversion time", "kernel")
"""Attributes that no volume mixes, not even where each slice has a position of its own (echoes taken in turns)."""
_SAME_CONTRAST = 0.05
"""Numbers that differ by less of the larger one are one contrast: scanners round them slice by slice."""
_IMAGE_TYPES = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}  # value 3 of ImageType for MR


def split_volumes(slices: Sequence[Slice]) -> Volumes:
    """Split the slices of one series into volumes, each with a name; a single volume has an empty one.

    A part that still has several slices at one position stays as it is: `stack_geometry` refuses it.
    """
    if any(slice_.position is None or slice_.orientation is None for slice_ in slices):
        return _images_without_position(slices)
    attributes = [*_BY_VALUE, *_BY_ACQUISITION]
    attributes += sorted({name for slice_ in slices for name in slice_.acquisition if name.startswith("dimension ")})
    volumes = _by_folder(slices) or _split(list(slices), attributes)
    return [(", ".join(names), part) for names, part in volumes]


def _by_folder(slices: Sequence[Slice]) -> list[tuple[list[str], list[Slice]]]:
    """Split by folder if several folders hold the same instances (compressed differently); else return nothing."""
    folders: dict[str, list[Slice]] = defaultdict(list)
    for slice_ in slices:
        folders[slice_.file.folder].append(slice_)
    instances = [sorted((slice_.sop_instance_uid, slice_.frame or 0) for slice_ in part) for part in folders.values()]
    if len(folders) < 2 or any(part != instances[0] for part in instances) or not instances[0][0][0]:
        return []
    return [([f"in {folder}"], part) for folder, part in sorted(folders.items())]


def _images_without_position(slices: Sequence[Slice]) -> Volumes:
    """Make each image that does not say where it lies a volume; the frames of one file stay together."""
    if len(slices) == 1 or any(slice_.frame is not None or slice_.position is not None for slice_ in slices):
        return [("", list(slices))]
    ordered = sorted(slices, key=lambda slice_: (slice_.instance_number or 0, slice_.file.name))
    return [(f"image {number}", [slice_]) for number, slice_ in enumerate(ordered, start=1)]


def _split(slices: list[Slice], attributes: Sequence[str]) -> list[tuple[list[str], list[Slice]]]:
    """Split slices by the first attribute that leaves fewer of them doubled, and each part by the attributes after it.

    Returns:
        (names, slices) of each part: a name for each attribute that made it.
    """
    positions = _positions(slices)
    doubled = len(slices) - len(set(positions))
    for number, attribute in enumerate(attributes):
        groups = _groups(slices, positions, attribute)
        if attribute == "stack" and len(groups) > 1 and min(len(part) for _, part in groups) > 1:
            useful = True  # a stack is a volume by definition (PS3.3 C.7.6.16.2.2), wherever the others lie
        else:
            still_doubled = sum(len(part) - len(set(_positions(part))) for _, part in groups)
            useful = len(groups) > 1 and still_doubled < doubled and _are_volumes(groups, positions, attribute)
            useful = useful or (not doubled and _are_contrasts(groups, attribute))
        if useful:
            rest = attributes[number + 1 :]
            return [([name, *names], part) for name, members in groups for names, part in _split(members, rest)]
    return [([], slices)]


def _are_volumes(groups: Volumes, positions: list[int], attribute: str) -> bool:
    """Return whether groups can be volumes.

    There may be no more groups than slices lie at one position. Groups by acquisition number or time must have several
    slices each, at most of the positions.
    """
    if len(groups) > _most_at_one(positions):
        return False
    count = len(set(positions))
    return attribute not in _BY_ACQUISITION or (
        count > 1 and all(len(part) >= _MIN_COVERAGE * count for _, part in groups)
    )


def _are_contrasts(groups: Volumes, attribute: str) -> bool:
    """Return whether slices at different positions show different contrasts, several slices of each."""
    if attribute not in _CONTRASTS or len(groups) < 2 or min(len(part) for _, part in groups) < 2:
        return False
    found = [part[0].acquisition.get(attribute) for _, part in groups]
    numbers = [value for value in found if isinstance(value, (int, float))]
    if len(numbers) == len(found) and max(numbers) - min(numbers) <= _SAME_CONTRAST * max(map(abs, numbers)):
        return False
    slices = [slice_ for _, part in groups for slice_ in part]
    # what mixes orientations or matrices is refused as a whole, with the reason
    return not any(problem.kind.startswith("mixed") for problem in stack_geometry(slices).problems)


def _groups(slices: list[Slice], positions: list[int], attribute: str) -> Volumes:
    """Group slices by the value of an attribute, and name the groups; nothing if all have the same value."""
    values = [_rounded(slice_.acquisition.get(attribute)) for slice_ in slices]
    distinct = sorted(set(values), key=lambda value: (value is not None, value))
    if len(distinct) < 2:
        return []
    if attribute in _RANKED and len(distinct) != _most_at_one(positions):
        return _ranked(slices, positions, values)
    groups: dict[Any, list[Slice]] = defaultdict(list)
    for slice_, value in zip(slices, values, strict=True):
        groups[value].append(slice_)
    return [
        (_volume_name(attribute, value, number, distinct), groups[value])
        for number, value in enumerate(distinct, start=1)
    ]


def _ranked(slices: list[Slice], positions: list[int], times: list[Any]) -> Volumes:
    """Make a volume of the k-th slices at all positions.

    Nothing is returned where positions have different numbers of slices, or a time occurs twice at one.
    """
    by_position: dict[int, list[tuple[Any, int]]] = defaultdict(list)
    for number, (position, time) in enumerate(zip(positions, times, strict=True)):
        by_position[position].append((time, number))
    depths = {len(entries) for entries in by_position.values()}
    distinct = all(len({time for time, _ in entries} - {None}) == len(entries) for entries in by_position.values())
    if len(depths) != 1 or not distinct:
        return []
    in_order = [sorted(entries) for entries in by_position.values()]
    return [
        (f"time {rank + 1}", [slices[entries[rank][1]] for entries in in_order]) for rank in range(next(iter(depths)))
    ]


def _positions(slices: Sequence[Slice]) -> list[int]:
    """Return a number for each slice, equal for those at one position along one normal."""
    orientations: list[Any] = []
    members: dict[int, list[int]] = defaultdict(list)
    for number, slice_ in enumerate(slices):
        cosines = np.array(slice_.orientation)
        side = max(slice_.rows, slice_.columns, 1)  # a difference of direction times this is that of the far corner
        errors = (float(np.abs(cosines - known).max()) * side for known in orientations)
        cluster = next((n for n, error in enumerate(errors) if error <= GRID_TOLERANCE_VOXELS), None)
        if cluster is None:
            cluster = len(orientations)
            orientations.append(cosines)
        members[cluster].append(number)
    positions = [0] * len(slices)
    position = -1
    for numbers in members.values():
        normal = plane_axes(slices[numbers[0]])[:, 2]
        heights = np.array([slices[number].position for number in numbers]) @ normal
        order = np.argsort(heights, kind="stable")
        is_same = np.concatenate([[False], same_position_steps(heights[order])])
        for index, same in zip(order, is_same, strict=True):
            position += not same
            positions[numbers[index]] = position
    return positions


def _most_at_one(positions: list[int]) -> int:
    """Return how many slices lie at the position that has most."""
    return int(np.bincount(positions).max())


def _rounded(value: Any) -> Any:
    """Round numbers, which are decimal text in files, so that equal ones compare equal."""
    if isinstance(value, tuple):
        return tuple(round(part, 6) for part in value)
    return round(value, 6) if isinstance(value, float) else value


def _volume_name(attribute: str, value: Any, number: int, distinct: list[Any]) -> str:
    """Return the name of a volume: `b=1000`, `echo 2`, `time 3`.

    Args:
        attribute: what tells the volumes apart.
        value: the value of this volume; None if its slices do not state it.
        number: the number of this volume, from 1.
        distinct: the values of all volumes.
    """
    if value is None:
        return f"no {attribute}"
    if attribute == "b":
        return f"b={value:g}"
    if attribute == "image type":
        common = set.intersection(*(set((known or "").split("\\")) for known in distinct))
        words = [_IMAGE_TYPES.get(part, part.lower()) for part in value.split("\\") if part not in common]
        return " ".join(dict.fromkeys(words)) or f"image type {number}"
    if attribute in ("time position", "trigger", "acquired", "acquired at"):
        return f"time {number}"
    if attribute == "echo time":
        return f"echo {number}"
    if attribute == "direction":
        return f"direction {number}"
    if attribute == "directionality":
        return str(value).lower()
    if attribute == "kilovolts":
        return f"{value:g} kV"
    if attribute == "sequence" and (match := re.search(r"b(\d+)", str(value))):
        return f"b={match[1]}"  # Siemens writes the b-value into SequenceName: *ep_b1000#3
    return f"{attribute} {value:g}" if isinstance(value, float) else f"{attribute} {value}"
