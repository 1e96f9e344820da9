"""Draw the objects of COCO's annotations: polygons, and run-length codes as in its `maskApi.c`.

Codes are decoded here, and not by pycocotools, whose C code trusts what the file says about sizes and lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.io.annotations.coco import (
    FARTHEST_PIXELS,
    MOST_PIXELS,
    CocoFile,
    ListedImage,
    annotation_name,
    category_number,
    is_crowd,
    listed_image,
    whole_number,
)
from medseg.io.formats.stack import as_shown
from medseg.io.values.rasterize import polygon

_MOST_DIGITS = 7  # of 5 bits each in a compressed count: 35 bits, more than there are pixels
_FEWEST_NUMBERS = 6  # three points (x, y)
_REPAIR = "Correct it with the program that wrote the file, or take this annotation away."


@dataclass(frozen=True)
class CocoObject:
    """An object that was drawn on an image.

    Attributes:
        category: its name.
        pixels: (y, x), where it is.
        crowd: whether it stands for a group of objects that were not told apart.
    """

    category: str
    pixels: NDArray[np.bool_]
    crowd: bool


def read_objects(
    path: Path, shape: tuple[int, int] | None = None, picture_orientation: int = 1
) -> tuple[list[CocoObject], list[str]]:
    """Draw the objects of an image on the picture as viewers show it.

    Some programs draw on the picture as it is stored. Where the size in the file says so, what they drew is turned with
    the picture. Where both have one size, nothing says which is meant, and a sentence does.

    Args:
        path: `FILE.json#image-ID`.
        shape: (height, width) of the picture as it is shown, if it is known.
        picture_orientation: by which the picture was turned, see `Image.picture_orientation`.

    Returns:
        The objects in the order of the file, and sentences on annotations that cover no pixel, and on how a picture
        that is turned was annotated.

    Raises:
        DataError: the image has another size than the file says, or an annotation has no category, or no outline, or
            one that is damaged or belongs to an image of another size. Without it, its object would be background.
    """
    file, image = listed_image(path)
    stored = shape[::-1] if shape is not None and 5 <= picture_orientation <= 8 else shape
    if shape is not None and image.shape not in (shape, stored):
        raise DataError(
            f"{path} was drawn on an image of {image.shape[1]} x {image.shape[0]} pixels; {image.file_name} has "
            f"{shape[1]} x {shape[0]}.",
            "The image was replaced or resized: bring back the one that was annotated.",
            "label grid",
        )
    objects, notes = _drawn(path, file, image)
    if shape is None or picture_orientation == 1 or not objects:
        return objects, notes
    if shape != image.shape:
        turned = [replace(drawn, pixels=as_shown(drawn.pixels, picture_orientation)) for drawn in objects]
        return turned, [*notes, f"{path} was drawn on the picture as it is stored, and is turned with it"]
    if shape == stored:
        notes.append(
            f"{path}: {image.file_name} has the orientation {picture_orientation}, and its size does not say whether "
            "it was annotated as viewers show it, which is assumed, or as it is stored: look at both"
        )
    return objects, notes


def _drawn(path: Path, file: CocoFile, image: ListedImage) -> tuple[list[CocoObject], list[str]]:
    """Draw the objects on the image that the file lists; see `read_objects`."""
    objects, notes = [], []
    for number, entry in enumerate(file.annotations.get(image.id, ()), start=1):
        name = f"{path}: annotation {annotation_name(entry, number)}"
        category = file.categories.get(category_number(entry.get("category_id")))  # type: ignore[arg-type]
        if category is None:
            raise DataError(
                f"{name} is of the category {str(entry.get('category_id'))[:40]}, which the file does not list.",
                "Add it to the list of categories, or take this annotation away.",
                "unknown label",
            )
        pixels = _pixels(entry, image.shape, name)
        if pixels is None or not pixels.any():
            notes.append(f"{name} ({category}) covers no pixel's centre and is left out.")
        else:
            objects.append(CocoObject(category, pixels, is_crowd(entry)))
    return objects, notes


def _pixels(entry: Mapping[str, Any], shape: tuple[int, int], name: str) -> NDArray[np.bool_] | None:
    """Return where an object is (y, x); None for one that has neither outline nor extent.

    Raises:
        DataError: its outline or mask is missing or damaged.
    """
    drawn = entry.get("segmentation")
    if isinstance(drawn, dict):
        return decode_mask(drawn, shape, name)
    if drawn is None or drawn == []:
        if _has_extent(entry.get("bbox")):
            raise DataError(
                f"{name} has a box and no outline (segmentation).",
                "Its object would be background: draw the outline, or take this image away.",
            )
        return None
    if not isinstance(drawn, list):
        raise DataError(f"{name} has a segmentation that is neither polygons nor a run-length code.", _REPAIR)
    parts = [drawn] if all(isinstance(value, int | float) for value in drawn) else drawn  # some write one polygon so
    pixels = np.zeros(shape, bool)
    for part in parts:
        points = _points(part, name)
        if points.size >= _FEWEST_NUMBERS:
            pixels |= _polygon(points, shape)
    return pixels


def _has_extent(box: Any) -> bool:
    """Return whether a box [x, y, width, height] has an area."""
    numbers = [value for value in box if isinstance(value, int | float)] if isinstance(box, list) else []
    return len(numbers) == 4 and numbers[2] > 0 and numbers[3] > 0


def _points(part: Any, name: str) -> NDArray[np.float64]:
    """Return the corners (point, 2) of a polygon [x, y, x, y, ...].

    Raises:
        DataError: it is no such list.
    """
    try:
        points = np.array(part, dtype=np.float64).reshape(-1, 2)
        usable = isinstance(part, list) and bool((np.abs(points) <= FARTHEST_PIXELS).all())  # NaN is not
    except (TypeError, ValueError, OverflowError):
        usable = False
    if not usable:
        raise DataError(f"{name} has a polygon that is no list of coordinates x, y, x, y.", _REPAIR)
    return points


def _polygon(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels (y, x) inside a polygon; only its box is drawn, as images may have hundreds of objects."""
    left, top = (int(value) for value in np.clip(np.floor(points.min(axis=0)), 0, shape[::-1]))
    right, bottom = (int(value) for value in np.clip(np.ceil(points.max(axis=0)), 0, shape[::-1]))
    pixels = np.zeros(shape, bool)
    pixels[top:bottom, left:right] = polygon(points - (left, top), (bottom - top, right - left))
    return pixels


def decode_mask(code: Mapping[str, Any], shape: tuple[int, int], name: str) -> NDArray[np.bool_]:
    """Return the pixels (y, x) of a run-length code.

    Runs go down the columns and alternate between background, which is first, and object. They are a list of numbers,
    or text: each number in groups of five bits from the lowest, the sixth bit of a character says that more follow, and
    from the fourth number on the difference from the number two before is stored (`rleToString` of COCO's `maskApi.c`).

    Args:
        code: `size` [height, width] and `counts`.
        shape: (height, width) of the image.
        name: of the annotation, for messages.

    Raises:
        DataError: the code is damaged, or of another size.

    >>> decode_mask({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3), "it").astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    >>> decode_mask({"size": [2, 3], "counts": "123"}, (2, 3), "it").astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, list) or [*map(whole_number, size)] != [*shape]:
        raise DataError(
            f"{name} has a mask of the size {str(size)[:60]} (height, width); its image has {[*shape]}.", _REPAIR
        )
    if isinstance(counts, str):
        counts = _expand_counts(counts)
    whole = [whole_number(count) for count in counts] if isinstance(counts, list) else [None]
    runs = [count for count in whole if count is not None and 0 <= count <= MOST_PIXELS]
    if len(runs) < len(whole) or sum(runs) != shape[0] * shape[1]:
        raise DataError(
            f"{name} has a run-length code that is damaged: its runs are not whole numbers that add up to the "
            f"{shape[0] * shape[1]} pixels of its image.",
            _REPAIR,
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(shape[::-1]).T


def _expand_counts(text: str) -> list[int] | None:
    """Return the runs of compressed text; None where it is damaged."""
    runs: list[int] = []
    value = digits = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or digits >= _MOST_DIGITS:
            return None
        value |= (bits & 0x1F) << (5 * digits)
        digits += 1
        if bits & 0x20:
            continue
        if bits & 0x10:  # the sign
            value -= 1 << (5 * digits)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = digits = 0
    return runs if digits == 0 else None
