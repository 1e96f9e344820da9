"""Read labels that name their structures: mask files, a file whose values have names, or COCO's outlines.

Names of values are in the header of `.seg.nrrd`, or in a list beside the file (`named_values`). What is read here is
read as the same content in DICOM SEG is: names are looked up in `Reading.segments`, and `Reading.overlaps` says what
overlaps mean. Layouts give a mask for each structure as the label of a case: a folder of them, as TotalSegmentator's
data set has it (`CASE/segmentations/STRUCTURE.nii.gz`), or `masks/*/IMAGE.png` (`io.several_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.image import Image, describe_grid_difference
from medseg.io.annotations.coco import categories_of, listed_image, split_reference
from medseg.io.annotations.coco_objects import read_objects
from medseg.io.formats.table import FORMATS, split_suffix
from medseg.io.several_files import is_by_structure, structure_masks
from medseg.io.values.class_names import read_lines
from medseg.io.values.named_values import LIST, may_name_values, named_values, names_in_header
from medseg.io.values.overlay import Overlay
from medseg.plans.sections.reading import Reading

_MOST_SHOWN = 8

ReadMask = Callable[[Path, Reading], Image]
"""Reads one label file as (1, z, y, x)."""


@dataclass(frozen=True)
class _Mask:
    """One structure of a label.

    Attributes:
        value: the structure's value.
        voxels: (z, y, x), where it is.
    """

    value: int
    voxels: NDArray[np.bool_]


def structure_names(path: Path) -> list[str]:
    """Return the names of the structures in masks for each, or in a label file; [] for a label without names."""
    if split_reference(path):
        return categories_of(path)
    if is_by_structure(path):
        return [name for name, _ in structure_masks(path)]
    return [segment.name for segment in named_values(path)] if may_name_values(path) else []


def drawn_names(path: Path) -> list[str]:
    """Return the names of the structures that a label holds: those in a header count where voxels have their value.

    Raises:
        DataError: the file cannot be read.
    """
    if split_reference(path) or is_by_structure(path) or not names_in_header(path):
        return structure_names(path)
    array = FORMATS[split_suffix(path)[1]].read(path).array
    present = [{*np.unique(layer).tolist()} for layer in array.reshape(-1, *array.shape[2:])]
    return [
        segment.name
        for segment in named_values(path)
        if segment.layer < len(present) and segment.value in present[segment.layer]
    ]


def named_otherwise(path: Path, segments: Mapping[str, int]) -> bool:
    """Return whether a label names its structures, and by these names has other values than those that it holds.

    Where names and values say the same, the values can be read as they are stored, which is many times faster.

    Args:
        path: of the label.
        segments: the value of each name, or pattern of names.
    """
    if is_by_structure(path) or split_reference(path) or not names_in_header(path):
        return bool(structure_names(path))  # a list beside a mask is compared with the values in it
    named = named_values(path)
    values = values_by_number({number: segment.name for number, segment in enumerate(named)}, segments)
    return any(segment.layer or values.get(number) != segment.value for number, segment in enumerate(named))


def read_named_masks(path: Path, reading: Reading, read_mask: ReadMask, scan: Image | None = None) -> Image:
    """Read a label that names its structures as a label map (1, z, y, x), by these names.

    Args:
        path: of the label: masks for each structure, a file, or an image's annotations (`FILE.json#image-ID`).
        reading: `segments` has the value of each name, `overlaps` says what overlaps mean.
        read_mask: reads one mask file.
        scan: the scan that annotations were drawn on, whose grid the label map gets; None where it is not known.

    Returns:
        The label map; names that `segments` does not match are left out.

    Raises:
        DataError: as `draw_named_masks`, or structures overlap and `reading.overlaps` does not say what that means.
    """
    overlay, grid, names = draw_named_masks(path, reading, read_mask, scan)
    array = overlay.values(reading.overlaps, names, str(path))
    turned = grid.picture_orientation
    return Image(array[np.newaxis], grid.affine, grid.spacing_known, grid.notes, picture_orientation=turned)


def draw_named_masks(
    path: Path, reading: Reading, read_mask: ReadMask, scan: Image | None = None
) -> tuple[Overlay, Image, dict[int, str]]:
    """Draw the structures of a label that names them; overlaps are not settled here.

    Args:
        path: as in `read_named_masks`.
        reading: likewise.
        read_mask: reads one mask file.
        scan: as in `read_named_masks`.

    Returns:
        The drawing, its grid, and {value: name} in the order of `reading.segments`.

    Raises:
        DataError: a file cannot be read, is no mask of one structure, or lies on another grid than the others.
    """
    if not reading.segments:
        raise DataError(
            f"{path} names its structures ({', '.join(structure_names(path)[:_MOST_SHOWN])}), and nothing says which "
            "value each of them has.",
            "Give the folder of the whole data set, whose plan settles that.",
        )
    by_value: dict[int, str] = {}
    for name, value in reading.segments.items():
        by_value.setdefault(value, name)
    if split_reference(path):
        grid, masks = _masks_of_annotations(path, reading, scan)
    elif is_by_structure(path):
        grid, masks = _masks_by_structure(path, reading, read_mask)
    elif names_in_header(path):
        grid, masks = _masks_of_header(path, reading)
    else:
        grid, masks = _masks_of_list(path, reading, read_mask)
    shape = grid.array.shape[1:]
    overlay = Overlay((shape[0], shape[1], shape[2]))
    for mask in masks:  # in any order: `Overlay.values` settles what overlaps mean
        overlay.paint(overlay.array, mask.voxels, mask.value)
    return overlay, grid, by_value


def values_by_number(names: Mapping[int, str], segments: Mapping[str, int]) -> dict[int, int]:
    """Return {number in the file: value} of the structures that are meant.

    A name is looked up as it is, then without regard to case, then as patterns in their order.

    Args:
        names: {number: name} of the file.
        segments: {name or pattern: value}; empty if nothing says which structures are meant: then all are, by their
            numbers.

    >>> values_by_number({1: "Liver", 2: "GTV-1", 3: "Couch"}, {"liver": 1, "GTV*": 2})
    {1: 1, 2: 2}
    """
    if not segments:
        numbers = [*names] if 0 not in names else range(1, len(names) + 1)  # 0 is the background
        return dict(zip(names, numbers, strict=True))
    lower = {pattern.lower(): value for pattern, value in segments.items()}
    value_by_number = {}
    for number, name in names.items():
        value = segments.get(name, lower.get(name.lower()))
        if value is None:
            value = next((value for pattern, value in lower.items() if fnmatchcase(name.lower(), pattern)), None)
        if value is not None:
            value_by_number[number] = value
    return value_by_number


def _masks_by_structure(path: Path, reading: Reading, read_mask: ReadMask) -> tuple[Image, Iterator[_Mask]]:
    """Return the grid of masks for each structure, and the masks that are meant, one read at a time.

    Raises:
        DataError: there is no mask, or one of them is not a mask of one structure on the grid of the others.
    """
    named = structure_masks(path)
    if not named:
        raise DataError(f"{path} holds no mask file.", "Expected one for each structure, such as liver.nii.gz.")
    names, files = zip(*named, strict=True)
    plain = _without_names(reading)
    values = values_by_number(dict(enumerate(names)), reading.segments)
    first = read_mask(files[0], plain)

    def masks() -> Iterator[_Mask]:
        for number, file in enumerate(files):
            if number not in values:
                continue
            image = first if number == 0 else read_mask(file, plain)
            if not first.same_grid(image):
                difference = describe_grid_difference(first, image)
                raise DataError(
                    f"{files[0]} and {file} lie on different grids: {difference}.",
                    "Resample the masks of a case onto the grid of its scan, by nearest neighbour.",
                    "label grid",
                )
            present = np.unique(image.array)
            if len(present[present != 0]) > 1:
                shown = ", ".join(map(str, present[:_MOST_SHOWN].tolist()))
                raise DataError(
                    f"{file} holds the values {shown}; expected 0 and one other value, as it is the mask of one "
                    "structure.",
                    "List the cases in a table (--cases TABLE.csv) whose column label has the file that holds all "
                    f"structures of a case, such as {file.parent.name}/{file.name}.",
                )
            yield _Mask(values[number], image.array[0] != 0)

    return first, masks()


def _masks_of_annotations(path: Path, reading: Reading, scan: Image | None) -> tuple[Image, Iterator[_Mask]]:
    """Return the grid of an image's annotations, and the objects that are meant; objects of a category are united.

    Raises:
        DataError: as `read_objects`.
    """
    shape, orientation = listed_image(path)[1].shape, 1
    if scan is not None and scan.shape_zyx[0] == 1:
        shape, orientation = scan.shape_zyx[1:], scan.picture_orientation
    objects, notes = read_objects(path, shape, orientation)
    names = dict(enumerate(dict.fromkeys(drawn.category for drawn in objects)))
    values = {names[number]: value for number, value in values_by_number(names, reading.segments).items()}
    affine, known = (np.eye(4), False) if scan is None else (scan.affine, scan.spacing_known)
    grid = Image(np.zeros((1, 1, *shape), np.uint8), affine, known, tuple(notes), picture_orientation=orientation)
    chosen = [drawn for drawn in objects if drawn.category in values]
    return grid, (_Mask(values[drawn.category], drawn.pixels[np.newaxis]) for drawn in chosen)


def _without_names(reading: Reading) -> Reading:
    """Return the reading without names, value map and boundaries: values of the file are taken as stored."""
    return reading.model_copy(update={"segments": {}, "overlaps": "refuse", "map": {}, "boundaries": {}})


def _masks_of_list(path: Path, reading: Reading, read_mask: ReadMask) -> tuple[Image, Iterator[_Mask]]:
    """Return the grid of a label file with a list of names beside it, and the structures that are meant.

    Raises:
        DataError: voxels have a value that the list does not name.
    """
    image = read_mask(path, _without_names(reading))
    segments = named_values(path)
    # an ignored class has a line in the list, but is no structure
    listed = len(read_lines(path.with_name(LIST)))
    unnamed = [value for value in np.unique(image.array).tolist() if not 0 <= value < listed]
    if unnamed:
        raise DataError(
            f"{path} holds the value {unnamed[0]}, which {LIST} beside it does not name (it has {listed} lines).",
            "Export it again from its JSON file.",
            "unknown label",
        )
    values = values_by_number({segment.value: segment.name for segment in segments}, reading.segments)
    return image, (_Mask(value, image.array[0] == number) for number, value in values.items())


def _masks_of_header(path: Path, reading: Reading) -> tuple[Image, Iterator[_Mask]]:
    """Return the grid of a file whose header names its values (`.seg.nrrd`, NIfTI), and the structures that are meant.

    Raises:
        DataError: voxels have a value that the header does not name, or the layers do not fit the header.
    """
    segments = named_values(path)
    stack = FORMATS[split_suffix(path)[1]].read(path)
    layers = stack.array.reshape(-1, *stack.array.shape[2:])
    for number, layer in enumerate(layers):
        named = {segment.value for segment in segments if segment.layer == number}
        unnamed = sorted({*np.unique(layer).tolist()} - named - {0})
        if unnamed:
            raise DataError(
                f"{path} has voxels of the value {unnamed[0]} in layer {number}, which its header does not name.",
                "Open it in the program that wrote it, and save it again; medseg info shows what its header names.",
                "unknown label",
            )
    if missing := [segment.name for segment in segments if segment.layer >= len(layers)]:
        raise DataError(
            f"{path} names {missing[0]} in a layer that it does not have (it has {len(layers)}).",
            "Open it in 3D Slicer and save it again.",
        )
    values = values_by_number({number: segment.name for number, segment in enumerate(segments)}, reading.segments)
    grid = Image(np.zeros((1, *layers.shape[1:]), np.uint8), stack.affine, stack.spacing_known)
    chosen = [(segments[number], value) for number, value in values.items()]
    return grid, (_Mask(value, layers[segment.layer] == segment.value) for segment, value in chosen)
