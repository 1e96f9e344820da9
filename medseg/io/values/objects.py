"""Tell the objects in a label apart: by what the label says itself, else by which voxels touch.

COCO's annotations, a mask for each object, several masks of one image, and a map of numbers beside the
label (`instances/`, as `medseg labelme --instances` and `medseg predict --instances` write it) say it. In all other
labels an object is a group of voxels of one structure that touch at faces, edges or corners.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image
from medseg.core.numbered_objects import number_objects
from medseg.io.annotations.coco import split_reference
from medseg.io.annotations.coco_objects import read_objects
from medseg.io.formats.table import split_suffix
from medseg.io.several_files import is_by_structure, structure_masks, united_files
from medseg.io.values.named_masks import ReadMask, values_by_number
from medseg.plans.sections.reading import Reading

OBJECT_FOLDERS = ("instances", "SegmentationObject")
"""What folders with maps of numbers are called."""


def instance_map(path: Path, answer: bool = False) -> Path | None:
    """Return the map of numbers that belongs to a label file: in `instances/` beside it or beside its folder.

    Args:
        path: the label file.
        answer: whether it is an answer, whose map lies beside it. One beside its folder may be that of the reference.
    """
    if path.is_dir() or not path.is_file() or path.parent.name in OBJECT_FOLDERS:
        return None
    stem, suffix = split_suffix(path)
    names = [f"{stem}{end}" for end in dict.fromkeys((suffix, ".png"))]
    folders = [
        root / name for root in (path.parent, path.parent.parent)[: 1 if answer else 2] for name in OBJECT_FOLDERS
    ]
    return next((file for folder in folders for name in names if (file := folder / name).is_file()), None)


def tells_objects_apart(path: Path, answer: bool = False) -> bool:
    """Return whether a label says itself which voxels are one object; `answer` as in `instance_map`."""
    return bool(split_reference(path) or united_files(path) or is_by_structure(path) or instance_map(path, answer))


def objects_in(
    path: Path, label: Image, reading: Reading, read_mask: ReadMask, answer: bool = False
) -> NDArray[np.int32]:
    """Return the number of the object that each voxel of a label belongs to as (z, y, x), 0 for the background.

    Args:
        path: the label.
        label: (1, z, y, x), what was read from it, without boundaries; 0 is the background.
        reading: what its values and names mean.
        read_mask: reads one file of a label of several.
        answer: as in `instance_map`.
    """
    values = label.array[0]
    numbers = np.zeros(values.shape, np.int32)
    if beside := instance_map(path, answer):
        numbers = _read_map(beside, path, label, read_mask)
    for number, mask in enumerate(_masks(path, label, reading, read_mask), start=1):
        if mask.shape == numbers.shape:
            numbers[mask & (values != 0)] = number
    others = np.where(numbers == 0, values, 0)
    rest = number_objects(others, [int(value) for value in np.unique(others) if value])
    numbers[rest > 0] = rest[rest > 0] + numbers.max(initial=0)
    return numbers


def _read_map(file: Path, path: Path, label: Image, read_mask: ReadMask) -> NDArray[np.int32]:
    """Return the numbers in the map beside a label.

    Raises:
        DataError: it belongs to another label.
    """
    numbers = read_mask(file, Reading()).array[0]
    if numbers.shape != label.array.shape[1:] or (label.array[0][numbers != 0] == 0).any():
        raise DataError(
            f"{file} does not belong to {path}: it numbers voxels where that has background.",
            "Write both again, or take the older one away.",
        )
    return numbers.astype(np.int32)


def _masks(path: Path, label: Image, reading: Reading, read_mask: ReadMask) -> Iterator[NDArray[np.bool_]]:
    """Yield the masks (z, y, x) of the objects that a label tells apart; none where it does not."""
    plain = reading.model_copy(update={"boundaries": {}, "segments": {}, "overlaps": "refuse", "map": {}})
    if split_reference(path):
        objects, _ = read_objects(path, label.shape_zyx[1:], label.picture_orientation)
        names = dict(enumerate(dict.fromkeys(drawn.category for drawn in objects)))
        meant = {names[number] for number in values_by_number(names, reading.segments)}
        yield from (drawn.pixels[np.newaxis] for drawn in objects if drawn.category in meant and not drawn.crowd)
    elif united := united_files(path):
        yield from (read_mask(file, plain).array[0] != 0 for file in united)
    elif named := structure_masks(path):
        values = values_by_number({number: name for number, (name, _) in enumerate(named)}, reading.segments)
        if len({*values.values()}) < len(values):  # else each is a structure
            yield from (read_mask(named[number][1], plain).array[0] != 0 for number in values)
