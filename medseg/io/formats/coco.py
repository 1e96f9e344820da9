"""Read COCO's instance annotations: one JSON file that lists images, categories, and outlines or masks of objects.

The label of an image is named `FILE.json#image-ID`, which stands wherever others name a label file. The format is
described at https://cocodataset.org/#format-data; run-length codes are those of its `maskApi.c`. They are decoded here,
and not by pycocotools, whose C code trusts what the file says about sizes and lengths.
"""

from __future__ import annotations

import json
import mmap
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.json_text import parse_json
from medseg.core.wording import counted, first_few
from medseg.io.values.rasterize import polygon

_REFERENCE = re.compile(r"(.+\.json)#image-([\w.-]+)", re.DOTALL | re.IGNORECASE)
_SECTIONS = ("images", "annotations", "categories")
_MOST_PIXELS = 1 << 28
"""More than any image that is annotated as a whole; a hostile file may claim any size."""
_LONGEST_SIDE = 1 << 20
_FARTHEST_PIXELS = 1e7  # from the corner, as for labelme's shapes: larger coordinates overflow
_MOST_DIGITS = 7  # of 5 bits each in a compressed count: 35 bits, more than there are pixels
_FEWEST_NUMBERS = 6  # three points (x, y)
_REPAIR = "Correct it with the program that wrote the file, or take this annotation away."


@dataclass(frozen=True)
class ListedImage:
    """An image that a file lists.

    Attributes:
        id: its id as text.
        file_name: the file as it is named there.
        shape: (height, width) in pixels.
    """

    id: str
    file_name: str
    shape: tuple[int, int]


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file.

    Attributes:
        path: the file.
        images: {id: image}, in the order of the file.
        categories: {id of a category: its name}.
        annotations: {id of an image: its annotations as they stand in the file}.
        problems: {id or position of an image: why it cannot be used}.
        notes: sentences on annotations that belong to no image of the file, and on crowds.
        annotated: whether the file has a list of annotations; lists of test images have none.
    """

    path: Path
    images: dict[str, ListedImage]
    categories: dict[int, str]
    annotations: dict[str, list[dict[str, Any]]]
    problems: dict[str, str]
    notes: list[str]
    annotated: bool

    def label_path(self, image: str) -> Path:
        """Return the path that names the annotations of an image."""
        return self.path.with_name(f"{self.path.name}#image-{image}")

    def used_categories(self) -> dict[int, str]:
        """Return {id: name} of the categories that at least one annotation has."""
        used = {_whole(entry.get("category_id")) for entries in self.annotations.values() for entry in entries}
        return {id: name for id, name in self.categories.items() if id in used}


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


def split_reference(path: Path) -> tuple[Path, str] | None:
    """Return the annotation file and the id of the image that a path names; None for any other path.

    >>> split_reference(Path("coco/train.json#image-12"))[1]
    '12'
    >>> split_reference(Path("coco/train.json")) is None
    True
    """
    match = _REFERENCE.fullmatch(str(path))
    return (Path(match[1]), match[2]) if match and not path.exists() else None


def may_be_coco(path: Path) -> bool:
    """Return whether a JSON file names the sections of COCO's, judged without parsing it."""
    try:
        if path.stat().st_size == 0:
            return False
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(f'"{name}"'.encode()) >= 0 for name in ("images", "categories"))
    except (OSError, ValueError):
        return False


_lock = threading.Lock()  # files may be large: threads that ask for the same one wait for one to parse it


def read_coco_file(path: Path) -> CocoFile:
    """Read an annotation file; the content of the last few is kept.

    Raises:
        DataError: it is not JSON, not COCO's, or contradicts itself.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}.", "Check the path and its permissions.") from None
    with _lock:
        return _parsed(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _parsed(path: Path, modified: int, size: int) -> CocoFile:
    """Return the content of a file; `modified` and `size` tell a changed file from the one that is kept."""
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"), _without_repeats)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.", "Export the annotations again.") from None
    if not isinstance(content, dict):
        raise _not_coco(path, "it holds no object")
    for name in _SECTIONS:
        if not isinstance(content.get(name, [] if name == "annotations" else None), list):
            raise _not_coco(path, f"it has no list {name!r}")
    categories = _categories(content["categories"], path)
    images, problems = _images(content["images"])
    annotations: dict[str, list[dict[str, Any]]] = {}
    strays: list[str] = []
    for number, entry in enumerate(content.get("annotations", ()), start=1):
        image = _id_text(entry.get("image_id")) if isinstance(entry, dict) else None
        if image in images:
            annotations.setdefault(str(image), []).append(entry)
        elif image not in problems:
            strays.append(_name_of(entry, number))
    notes = []
    if strays:
        notes.append(f"{path.name}: {counted(len(strays), 'annotation')} of no listed image, left out: {_few(strays)}")
    crowds = [_name_of(entry, 0) for entries in annotations.values() for entry in entries if _is_crowd(entry)]
    if crowds:
        notes.append(
            f"{path.name}: {counted(len(crowds), 'annotation')} of a crowd (iscrowd), whose pixels are those of the "
            f"category: {_few(crowds)}"
        )
    return CocoFile(path, images, categories, annotations, problems, notes, "annotations" in content)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON from its pairs.

    Raises:
        ValueError: a key occurs twice, so that it is not known which value counts.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {key[:40]!r} occurs twice in one object")
    return values


def _not_coco(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is no annotation file of COCO: {why}.",
        "Expected an object with the lists images (id, file_name, height, width), categories (id, name) and "
        "annotations (image_id, category_id, segmentation).",
    )


def _categories(entries: Sequence[Any], path: Path) -> dict[int, str]:
    """Return {id: name} of the categories.

    Raises:
        DataError: one has no id or name, or two have the same.
    """
    categories: dict[int, str] = {}
    for number, entry in enumerate(entries, start=1):
        id = _whole(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if id is None or not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise _not_coco(path, f"category {number} has no whole number as id, or no name of printable characters")
        if id in categories or name.strip() in categories.values():
            raise _not_coco(path, f"two categories have the id {id} or the name {name.strip()!r}")
        categories[id] = name.strip()
    if not categories:
        raise _not_coco(path, "it lists no category")
    return categories


def _images(entries: Sequence[Any]) -> tuple[dict[str, ListedImage], dict[str, str]]:
    """Return {id: image}, and {id, or position of an image without a valid one: why it cannot be used}."""
    images: dict[str, ListedImage] = {}
    problems: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        id = _id_text(entry.get("id")) if isinstance(entry, dict) else None
        if id is None:
            problems[f"image {number}"] = "its id is no whole number and no text of letters, digits, '.', '-' and '_'"
            continue
        name, height, width = (entry.get(key) for key in ("file_name", "height", "width"))
        height, width = _whole(height), _whole(width)
        if id in images or id in problems:
            images.pop(id, None)
            problems[id] = f"two images have the id {id}"
        elif not isinstance(name, str) or not name.strip() or "\0" in name:
            problems[id] = "it has no file_name"
        elif height is None or width is None or not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
            problems[id] = "its height and width are not whole numbers of pixels"
        elif height * width > _MOST_PIXELS:
            problems[id] = f"it is said to have {height} x {width} pixels; expected at most {_MOST_PIXELS}"
        else:
            images[id] = ListedImage(id, name.strip(), (height, width))
    return images, problems


def _whole(value: Any) -> int | None:
    """Return a whole number; None for anything else, truth values included."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _FARTHEST_PIXELS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _id_text(value: Any) -> str | None:
    """Return the id of an image as text; None where it cannot be part of a path."""
    number = _whole(value)
    text = str(value) if number is None and isinstance(value, str) else "" if number is None else str(number)
    return text if re.fullmatch(r"[\w.-]{1,100}", text) else None


def _name_of(entry: Any, number: int) -> str:
    """Return the id of an annotation, or its position in the list, for messages."""
    id = entry.get("id") if isinstance(entry, dict) else None
    return str(id)[:40] if isinstance(id, int | str) else f"number {number}" if number else "one without an id"


def _few(names: Sequence[str]) -> str:
    return first_few(list(names))


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    return entry.get("iscrowd", 0) not in (0, False, None, "0")


def listed_image(path: Path) -> tuple[CocoFile, ListedImage]:
    """Return the annotation file and the image that a path `FILE.json#image-ID` names.

    Raises:
        DataError: the file cannot be read, or has no such image.
    """
    reference = split_reference(path)
    assert reference is not None
    file, id = read_coco_file(reference[0]), reference[1]
    if id not in file.images:
        raise DataError(
            f"{file.path} lists no image with the id {id}. {file.problems.get(id, '')}".rstrip(),
            "The file was changed since the cases were found: make the plan again.",
        )
    return file, file.images[id]


def categories_of(path: Path) -> list[str]:
    """Return the names of the categories that were drawn on an image, in the order of their ids.

    Args:
        path: `FILE.json#image-ID`.
    """
    file, image = listed_image(path)
    used = {_whole(entry.get("category_id")) for entry in file.annotations.get(image.id, ())}
    return [name for id, name in sorted(file.categories.items()) if id in used]


def content_of(path: Path) -> str:
    """Return what a file says about one image as text, which changes with nothing else in the file.

    Args:
        path: `FILE.json#image-ID`.
    """
    file, image = listed_image(path)
    annotations = file.annotations.get(image.id, [])
    return json.dumps([image.shape, sorted(file.categories.items()), annotations], sort_keys=True)


def read_objects(path: Path, shape: tuple[int, int] | None = None) -> tuple[list[CocoObject], list[str]]:
    """Draw the objects of an image.

    Args:
        path: `FILE.json#image-ID`.
        shape: (height, width) that the image in its file has, if it is known.

    Returns:
        The objects in the order of the file, and sentences on annotations that cover no pixel.

    Raises:
        DataError: the image has another size than the file says, or an annotation has no category, or no outline, or
            one that is damaged or belongs to an image of another size. Without it, its object would be background.
    """
    file, image = listed_image(path)
    if shape is not None and shape != image.shape:
        raise DataError(
            f"{path} was drawn on an image of {image.shape[1]} x {image.shape[0]} pixels; {image.file_name} has "
            f"{shape[1]} x {shape[0]}.",
            "The image was replaced or resized: bring back the one that was annotated.",
            "label grid",
        )
    objects, notes = [], []
    for number, entry in enumerate(file.annotations.get(image.id, ()), start=1):
        name = f"{path}: annotation {_name_of(entry, number)}"
        category = file.categories.get(_whole(entry.get("category_id")))  # type: ignore[arg-type]
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
            objects.append(CocoObject(category, pixels, _is_crowd(entry)))
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
        usable = isinstance(part, list) and bool((np.abs(points) <= _FARTHEST_PIXELS).all())  # NaN is not
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
    if not isinstance(size, list) or [*map(_whole, size)] != [*shape]:
        raise DataError(
            f"{name} has a mask of the size {str(size)[:60]} (height, width); its image has {[*shape]}.", _REPAIR
        )
    if isinstance(counts, str):
        counts = _expand_counts(counts)
    whole = [_whole(count) for count in counts] if isinstance(counts, list) else [None]
    runs = [count for count in whole if count is not None and 0 <= count <= _MOST_PIXELS]
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
