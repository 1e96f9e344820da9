"""Read COCO's instance annotations: one JSON file that lists images, categories, and outlines or masks of objects.

The label of an image is named `FILE.json#image-ID`, which stands wherever others name a label file. The format is
described at https://cocodataset.org/#format-data; `coco_objects` draws the objects.
"""

from __future__ import annotations

import json
import mmap
import re
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medseg.core.errors import DataError
from medseg.core.json_text import parse_json
from medseg.core.wording import counted, first_few

_REFERENCE = re.compile(r"(.+\.json)#image-([\w.-]+)", re.DOTALL | re.IGNORECASE)
_SECTIONS = ("images", "annotations", "categories")
MOST_PIXELS = 1 << 28
"""More than any image that is annotated as a whole; a hostile file may claim any size."""
_LONGEST_SIDE = 1 << 20
_LONGEST_ID = 16
FARTHEST_PIXELS = 1e7  # from the corner, as for labelme's shapes: larger coordinates overflow


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
        used = {category_number(entry.get("category_id")) for entries in self.annotations.values() for entry in entries}
        return {id: name for id, name in self.categories.items() if id in used}


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

    Returns:
        Images, categories and annotations of the file.

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
    drawn = {
        category_number(entry.get("category_id")) for entry in content.get("annotations", ()) if isinstance(entry, dict)
    }
    categories = _categories(content["categories"], drawn, path)
    images, problems = _images(content["images"])
    annotations: dict[str, list[dict[str, Any]]] = {}
    strays: list[str] = []
    for number, entry in enumerate(content.get("annotations", ()), start=1):
        image = _id_text(entry.get("image_id")) if isinstance(entry, dict) else None
        if image in images:
            annotations.setdefault(str(image), []).append(entry)
        elif image not in problems:
            strays.append(annotation_name(entry, number))
    notes = []
    if strays:
        notes.append(f"{path.name}: {counted(len(strays), 'annotation')} of no listed image, left out: {_few(strays)}")
    crowds = [annotation_name(entry, 0) for entries in annotations.values() for entry in entries if is_crowd(entry)]
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


def _categories(entries: Sequence[Any], drawn: Collection[int | None], path: Path) -> dict[int, str]:
    """Return {id: name} of the categories.

    Of two with the same name that counts which annotations have: Roboflow lists a project, as category 0, under the
    name of its only class.

    Args:
        entries: the list in the file.
        drawn: ids of the categories that annotations have.
        path: the file.

    Raises:
        DataError: one has no id or name, or two that are drawn have the same.
    """
    categories: dict[int, str] = {}
    for number, entry in enumerate(entries, start=1):
        id = category_number(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if id is None or not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise _not_coco(path, f"category {number} has no whole number as id, or no name of printable characters")
        twin = next((other for other, known in categories.items() if known == name.strip()), None)
        if id not in categories and twin is not None and not {id, twin} <= {*drawn}:
            if id not in drawn:
                continue
            del categories[twin]
        elif id in categories or twin is not None:
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
        height, width = whole_number(height), whole_number(width)
        if id in images or id in problems:
            images.pop(id, None)
            problems[id] = f"two images have the id {id}"
        elif not isinstance(name, str) or not name.strip() or "\0" in name:
            problems[id] = "it has no file_name"
        elif height is None or width is None or not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
            problems[id] = "its height and width are not whole numbers of pixels"
        elif height * width > MOST_PIXELS:
            problems[id] = f"it is said to have {height} x {width} pixels; expected at most {MOST_PIXELS}"
        else:
            images[id] = ListedImage(id, name.strip(), (height, width))
    return images, problems


def whole_number(value: Any) -> int | None:
    """Return a value of JSON as a whole number; None for anything else, truth values included.

    >>> whole_number(3.0), whole_number(True), whole_number("3")
    (3, None, None)
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < FARTHEST_PIXELS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def category_number(value: Any) -> int | None:
    """Return the id of a category, which some programs write as text.

    >>> category_number(3), category_number("3"), category_number("three")
    (3, 3, None)
    """
    is_text = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _LONGEST_ID
    return int(value) if is_text else whole_number(value)


def _id_text(value: Any) -> str | None:
    """Return the id of an image as text; None where it cannot be part of a path."""
    number = whole_number(value)
    text = str(value) if number is None and isinstance(value, str) else "" if number is None else str(number)
    return text if re.fullmatch(r"[\w.-]{1,100}", text) else None


def annotation_name(entry: Any, number: int) -> str:
    """Return the id of an annotation, or its position in the list, for messages.

    Args:
        entry: the annotation, as it stands in the file.
        number: its position in the list, from 1; 0 where that is not known.
    """
    id = entry.get("id") if isinstance(entry, dict) else None
    return str(id)[:40] if isinstance(id, int | str) else f"number {number}" if number else "one without an id"


def _few(names: Sequence[str]) -> str:
    return first_few(list(names))


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Return whether an annotation stands for a group of objects (`iscrowd`)."""
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
    used = {category_number(entry.get("category_id")) for entry in file.annotations.get(image.id, ())}
    return [name for id, name in sorted(file.categories.items()) if id in used]


def content_of(path: Path) -> str:
    """Return the content of a file on one image as text, which changes with nothing else in the file.

    Args:
        path: `FILE.json#image-ID`.
    """
    file, image = listed_image(path)
    annotations = file.annotations.get(image.id, [])
    return json.dumps([image.shape, sorted(file.categories.items()), annotations], sort_keys=True)
