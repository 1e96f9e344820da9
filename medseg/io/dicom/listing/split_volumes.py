"""Split a series that holds several volumes, by the attribute that tells them apart.

Volumes may share their positions (echoes, b-values, points in time), or lie between each other: two contrast phases
whose scans start half a step apart look like one stack of half the step. Slices of two acquisitions never make one
volume only because their positions fit (`_acquisitions`); where that is in doubt, `doubtful_attributes` says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.image import GRID_TOLERANCE_VOXELS
from medseg.io.dicom.elements.series import Slice
from medseg.io.dicom.geometry.stacking import plane_axes, same_position_steps, stack_geometry

Volumes = list[tuple[str, list[Slice]]]
"""The name of each volume, and its slices."""

_BY_VALUE = (
    "stack", "b", "directionality", "direction", "echo", "echo time", "inversion time", "image type", "flip angle",
    "kilovolts", "contrast", "kernel", "sequence", "time position", "trigger",
    "thickness",
)  # fmt: skip
"""Acquisition attributes that say what a volume is, in the order in which they are tried: the more specific first."""
_BY_ACQUISITION = ("acquisition", "acquired", "acquired at", "content")
"""Attributes that tell volumes apart, but not single slices: a scanner that repeats one slice makes no volumes."""
_RANKED = ("trigger", "acquired", "acquired at", "content")
"""Times: where they differ from slice to slice, the k-th slice at each position belongs to volume k."""
_MIN_COVERAGE = 2 / 3
"""Share of the positions that each volume made by `_BY_ACQUISITION` must cover."""
_CONTRASTS = ("b", "echo", "echo time", "inversion time", "kernel")
"""Attributes that no volume mixes, not even where each slice has a position of its own (echoes taken in turns)."""
_NEVER_MIXED = (*_CONTRASTS, "image type", "kilovolts", "contrast")
"""Attributes of which no volume holds slices in turns: what differs in them shows other grey values."""
_MIN_SLICES = 3
"""Slices that an acquisition must have to be a volume; fewer are an oddity of a header."""
_MIN_DENSITY = 0.2
"""Slices of an acquisition for each one of the largest acquisition in its range: below it, they are strays."""
_MAX_SWEEPS = 8
"""More passes along the stack than this are slices in no order, and no acquisitions."""
_GAPLESS = 0.75
"""Slices whose thickness is at least this share of their step leave no room for others between them."""
_ONE_PASS_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "2.2", "128", "128.1", "130"))
"""SOP classes of CT and PET, whose scanners pass along the patient once for a volume. MR takes slices in turns."""
_SAME_CONTRAST = 0.05
"""Numbers that differ by less of the larger one are one contrast: scanners round them slice by slice."""
_IMAGE_TYPES = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}  # value 3 of ImageType for MR


def split_volumes(slices: Sequence[Slice]) -> Volumes:
    """Split the slices of one series into volumes, each with a name; a single volume has an empty one.

    A part that still has several slices at one position stays as it is: `stack_geometry` refuses it.

    Returns:
        The volumes, each with its name and its slices.
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
    """Make each image that does not say where it lies a volume; the frames of one file stay together.

    So do the slices of a CT or another sectional image: without positions they are a stack that cannot be put in order.
    """
    together = any(slice_.frame is not None or slice_.position is not None for slice_ in slices)
    if len(slices) == 1 or together or any(slice_.is_section for slice_ in slices):
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
            # a stack is a volume by definition (PS3.3 C.7.6.16.2.2), wherever the others lie; but scanners also
            # divide one volume into stacks, which then make one grid
            useful = not _is_one_grid(slices)
        else:
            still_doubled = sum(len(part) - len(set(_positions(part))) for _, part in groups)
            useful = len(groups) > 1 and still_doubled < doubled and _are_volumes(groups, positions, attribute)
            useful = useful or (not doubled and _are_contrasts(groups, attribute))
            if not useful:
                groups = _acquisitions(slices, attribute)
                useful = len(groups) > 1
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
    attribute_values = [part[0].acquisition.get(attribute) for _, part in groups]
    if _is_about_equal(attribute_values):
        return False
    slices = [slice_ for _, part in groups for slice_ in part]
    # what mixes orientations or matrices is refused as a whole, with the reason
    return not any(problem.kind.startswith("mixed") for problem in stack_geometry(slices).problems)


def alternating_attribute(slices: Sequence[Slice]) -> str | None:
    """Return the attribute by which slices of several acquisitions alternate; None if there is none.

    Such slices must not be interpolated, whether or not volumes can be made of them.
    """
    if any(slice_.position is None or slice_.orientation is None for slice_ in slices):
        return None
    return next((name for name in (*_NEVER_MIXED, *_BY_ACQUISITION) if _alternating(slices, name)), None)


def doubtful_attributes(slices: Sequence[Slice]) -> list[str]:
    """Return the attributes by which the slices of one volume may be of several acquisitions.

    Known harmless variations are not among them: measured numbers that are one contrast, numbers and times of the
    acquisition that change from one part of the stack to the next or from slice to slice, and MR in packages.
    """
    if any(slice_.position is None or slice_.orientation is None for slice_ in slices):
        return []
    return [name for name in (*_NEVER_MIXED, *_BY_ACQUISITION) if _is_doubtful(slices, name)]


def _is_doubtful(slices: Sequence[Slice], attribute: str) -> bool:
    """Return whether the values of an attribute are no harmless variation within one volume."""
    by_value: dict[Any, list[Slice]] = defaultdict(list)
    heights = np.array([slice_.position for slice_ in slices]) @ plane_axes(slices[0])[:, 2]
    along = [slices[number] for number in np.argsort(heights, kind="stable")]
    values = [_rounded(slice_.acquisition.get(attribute)) for slice_ in along]
    for value, slice_ in zip(values, along, strict=True):
        by_value[value].append(slice_)
    if len(by_value) < 2:
        return False
    if attribute in _NEVER_MIXED:
        return not _is_about_equal(values)
    changes = sum(value != after for value, after in pairwise(values))
    # more values than half of the slices are those of single slices, of which none belongs with another
    if changes == len(by_value) - 1 or 2 * len(by_value) > len(slices):
        return False
    return not _in_turns(slices, [(str(value), part) for value, part in by_value.items()])


def _is_one_grid(slices: Sequence[Slice]) -> bool:
    """Return whether slices make one regular stack, leaning or not."""
    return all(problem.kind == "gantry tilt" for problem in stack_geometry(slices).problems)


def _acquisitions(slices: Sequence[Slice], attribute: str) -> Volumes:
    """Return the acquisitions whose slices lie between each other, each with a name; nothing where there is one volume.

    That the slices together are a regular stack proves nothing: where every third slice is of another scan, the others
    have gaps. Acquisition numbers and times must leave stacks, with gaps or without; what shows other grey values
    (`_NEVER_MIXED`) is split out of a regular stack whatever it leaves, and irregular parts are then refused by name.
    """
    groups = _alternating(slices, attribute)
    if not groups or min(len(part) for _, part in groups) < _MIN_SLICES:
        return []
    if attribute in _NEVER_MIXED and _is_one_grid(slices):
        return groups
    geometries = [stack_geometry(part) for _, part in groups]
    allowed = ("gantry tilt", "missing slices")
    if any(problem.kind not in allowed for geometry in geometries for problem in geometry.problems):
        return []
    largest = max(range(len(groups)), key=lambda number: len(groups[number][1]))
    step = geometries[largest].regular_step_mm
    is_dense = (
        len(part) >= _MIN_DENSITY * (float(geometry.heights_mm[-1]) / step + 1)
        for (_, part), geometry in zip(groups, geometries, strict=True)
    )
    return groups if all(is_dense) else []


def _alternating(slices: Sequence[Slice], attribute: str) -> Volumes:
    """Return slices grouped by an attribute of their acquisition, if the groups lie between each other.

    Nothing is returned where an attribute changes from one part of the stack to the next (a CT of several ranges), and
    where a scanner takes the slices of one volume in turns (MR in packages).
    """
    values = [_rounded(slice_.acquisition.get(attribute)) for slice_ in slices]
    if attribute not in (*_NEVER_MIXED, *_BY_ACQUISITION) or len(set(values)) < 2:
        return []
    if attribute in _NEVER_MIXED and _is_about_equal(values):
        return []
    normal = plane_axes(slices[0])[:, 2]
    heights = np.array([slice_.position for slice_ in slices]) @ normal
    distinct = sorted(set(values), key=lambda value: (value is not None, value))
    labels = np.array([distinct.index(value) for value in values])
    if attribute in _RANKED and np.bincount(labels).min() < _MIN_SLICES and None not in distinct:
        labels = _sweeps(heights, labels)
        distinct = [f"sweep {number}" for number in range(int(labels.max()) + 1)]
    counts = np.bincount(labels)
    along = labels[np.argsort(heights, kind="stable")]
    changes = int(np.count_nonzero(np.diff(along)))
    # each slice of the smaller groups lies alone among others: k of them make about 2k changes, parts one after
    # another make one change each
    if len(counts) < 2 or counts.min() < 2 or changes < len(slices) - counts.max():
        return []
    groups = [
        (
            _volume_name(attribute, value, number + 1, distinct),
            [slice_ for slice_, label in zip(slices, labels, strict=True) if label == number],
        )
        for number, value in enumerate(distinct)
    ]
    return [] if attribute in _BY_ACQUISITION and _in_turns(slices, groups) else groups


def _in_turns(slices: Sequence[Slice], groups: Volumes) -> bool:
    """Return whether groups are the packages in which a scanner took the slices of one volume.

    MR excites every second or third slice first, so that neighbours do not disturb each other. The slices of a package
    then leave gaps that the other packages fill; slices of a scan of its own leave none.
    """
    if slices[0].sop_class_uid in _ONE_PASS_CLASSES:
        return False
    geometry = stack_geometry(slices)
    if any(problem.kind not in ("gantry tilt", "missing slices") for problem in geometry.problems):
        return False
    thickness = slices[0].thickness_mm
    steps = [stack_geometry(part).regular_step_mm for _, part in groups]
    return not thickness or thickness < _GAPLESS * min(steps)


def _sweeps(heights_mm: NDArray[np.float64], times: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each slice the pass along the stack in which it was taken, from 0; all 0 where they are in no order.

    Args:
        heights_mm: (slice,) along the normal.
        times: (slice,) number of the slice's time, in the order of time; slices may share one.
    """
    count = int(times.max()) + 1
    means = np.bincount(times, heights_mm, count) / np.bincount(times, minlength=count)
    sweep_of_time = np.zeros(count, np.intp)
    direction = 0.0
    for time in range(1, count):
        turn = np.sign(means[time] - means[time - 1])
        is_new = direction != 0 and turn not in (0, direction)
        sweep_of_time[time] = sweep_of_time[time - 1] + is_new
        direction = 0.0 if is_new else direction or turn  # the jump back to the start is not a direction
    sweeps = sweep_of_time[times]
    return sweeps if sweeps.max() < _MAX_SWEEPS else np.zeros_like(sweeps)


def _is_about_equal(values: Sequence[Any]) -> bool:
    """Return whether all values are numbers that are one contrast."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    return len(numbers) == len(values) and max(numbers) - min(numbers) <= _SAME_CONTRAST * max(map(abs, numbers))


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
        attribute: the attribute that tells the volumes apart.
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
    if attribute in ("time position", *_RANKED):
        return f"time {number}"
    if attribute == "contrast":
        return f"contrast {number}"
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
