"""Read labelme's annotations: a JSON file per image, which holds or names it and lists the shapes drawn on it."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import DataError
from medseg.core.json_text import parse_json
from medseg.core.names import declared_beside
from medseg.io.formats.stack import ORIENTATION_TAG
from medseg.io.values.rasterize import circle, polygon, rectangle

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif"}
"""Pillow's names of the formats whose files are taken over unchanged, with their suffixes."""

_AREAS = {
    "polygon": (polygon, 3),
    "rectangle": (rectangle, 2),
    "circle": (circle, 2),
    "oriented_rectangle": (polygon, 4),
    "rotation": (polygon, 4),
}
"""Kinds of shapes with an area: how to draw them, and the fewest points. `rotation` is X-AnyLabeling's name for a
rectangle that was turned; its four corners are stored, as those of an `oriented_rectangle` are."""
_WITHOUT_AREA = ("line", "linestrip", "point", "points")
_FARTHEST_PIXELS = 1e7  # from the corner; no image is that large, and larger numbers overflow


@dataclass(frozen=True)
class Shape:
    """A shape as it was drawn.

    Attributes:
        label: its class.
        kind: one with an area (`_AREAS`), mask, or a kind without area.
        points: (point, 2), x and y in pixels.
        group: shapes of one class and group are one object; None for a shape by itself.
        mask: the pixels (y, x) of a stored mask, from the first point on.
    """

    label: str
    kind: str
    points: NDArray[np.float64]
    group: int | None = None
    mask: NDArray[np.bool_] | None = None

    @property
    def has_area(self) -> bool:
        """Whether it can cover pixels: it is neither a line nor a point, nor an outline of too few points."""
        return self.kind == "mask" or (self.kind in _AREAS and len(self.points) >= _AREAS[self.kind][1])

    def pixels(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
        """Return a box (rows, columns) of an image of (height, width), and which pixels in it the shape covers."""
        low, high = self._extent()
        left, top = (int(value) for value in np.clip(low, 0, shape[::-1]))
        right, bottom = (int(value) for value in np.clip(high, 0, shape[::-1]))
        box = slice(top, bottom), slice(left, right)
        if self.mask is not None:
            x, y = low.astype(int).tolist()
            return box, self.mask[top - y : bottom - y, left - x : right - x]
        draw, _ = _AREAS[self.kind]
        return box, draw(self.points - (left, top), (bottom - top, right - left))

    def _extent(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the smallest and the largest (x, y) in whole pixels between which it lies."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        if self.mask is not None:
            low = np.trunc(low)
            high = low + self.mask.shape[::-1]
        elif self.kind == "circle":
            radius = float(np.hypot(*(self.points[1] - self.points[0])))
            low, high = self.points[0] - radius, self.points[0] + radius
        return np.floor(low), np.ceil(high)


@dataclass(frozen=True)
class Annotation:
    """An image with the shapes drawn on it.

    Attributes:
        shape: (height, width) in pixels.
        shapes: the shapes in the order in which they were drawn.
        image: the bytes of the image's file.
        suffix: the suffix of that file.
    """

    shape: tuple[int, int]
    shapes: Sequence[Shape]
    image: bytes
    suffix: str


def image_named(path: Path) -> Path | None:
    """Return the image that a JSON file of labelme names; None where it names none, or cannot be read."""
    try:
        name = _content(path).get("imagePath")
    except DataError:
        return None
    return declared_beside(name, path.parent) if isinstance(name, str) and name else None


def read_annotation(path: Path) -> Annotation:
    """Read a JSON file of labelme with its image, which is embedded or lies where `imagePath` says.

    A rotation that the camera recorded (EXIF) is applied to an image in a file of its own, as labelme does before
    drawing, unless only the size without the rotation is the one that was annotated.

    Returns:
        The image with its shapes.

    Raises:
        DataError: it is not a file of labelme, or its image is missing, unreadable or of another size.
    """
    content = _content(path)
    shapes = [_shape(entry, number, path) for number, entry in enumerate(content["shapes"], start=1)]
    annotated_size = content.get("imageHeight"), content.get("imageWidth")
    data, external = _image_bytes(content, path)
    image, size = _upright(data, external, annotated_size, path)
    if None not in annotated_size and annotated_size != size:
        raise DataError(
            f"{path} was drawn on an image of {annotated_size[1]} x {annotated_size[0]} pixels; its image has "
            f"{size[1]} x {size[0]}.",
            "The image was replaced or resized: bring back the one that was annotated.",
        )
    return Annotation(size, shapes, *image)


def read_shape_labels(path: Path) -> set[str]:
    """Return the classes that occur in a JSON file as shapes with an area.

    Raises:
        DataError: it is not a file of labelme.
    """
    shapes = [_shape(entry, number, path) for number, entry in enumerate(_content(path)["shapes"], start=1)]
    return {shape.label for shape in shapes if shape.has_area}


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that has a list of shapes."""
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.", "Save it again in labelme.") from None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{path} is not a file of labelme: it has no list of shapes.")
    return content


def _label(entry: Any, number: int, path: Path) -> str:
    """Return the class of a shape."""
    label = entry.get("label") if isinstance(entry, dict) else None
    if isinstance(label, int | float) and not isinstance(label, bool):
        return str(label)  # as programs other than labelme write classes that are numbers
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"{path}: shape {number} has no label.", "Give it one in labelme, or delete it.")
    return label.strip()


def _shape(entry: Any, number: int, path: Path) -> Shape:
    """Return a shape from its entry in the list."""
    label = _label(entry, number, path)
    kind = entry.get("shape_type") or "polygon"
    try:
        points = np.array(entry["points"], dtype=np.float64).reshape(-1, 2)
        usable = points.size > 0 and bool((np.abs(points) <= _FARTHEST_PIXELS).all())
    except (KeyError, TypeError, ValueError, OverflowError):
        usable = False
    if not usable:
        raise DataError(f"{path}: shape {number} ({label}) has no list of points (x, y).", "Draw it again in labelme.")
    if kind not in (*_AREAS, *_WITHOUT_AREA, "mask"):
        raise DataError(
            f"{path}: shape {number} ({label}) is a {kind!r}; medseg knows {', '.join((*_AREAS, 'mask'))}.",
            "Draw it as a polygon.",
        )
    group = entry.get("group_id")
    mask = _stored_mask(entry, points, f"{path}: shape {number} ({label})") if kind == "mask" else None
    return Shape(label, kind, points, group if isinstance(group, int) else None, mask)


def _stored_mask(entry: Mapping[str, Any], points: NDArray[np.float64], name: str) -> NDArray[np.bool_]:
    """Return the pixels (y, x) of a mask that is stored as a PNG within the entry."""
    if not isinstance(entry.get("mask"), str):
        raise DataError(f"{name} is a mask, but holds none.", "Draw it again in labelme.")
    try:
        with _open(base64.b64decode(entry["mask"], validate=True)) as picture:
            mask = np.asarray(picture.convert("L")) > 0
    except Exception as error:  # binascii's, pillow's and what a wrong type raises
        raise DataError(f"{name} holds a mask that cannot be read: {error}.", "Draw it again in labelme.") from None
    width, height = (np.ptp(points, axis=0).astype(int) + 1).tolist()  # both corners belong to the box
    if mask.shape != (height, width):
        raise DataError(
            f"{name} holds a mask of {mask.shape[1]} x {mask.shape[0]} pixels in a box of {width} x {height}.",
            "Draw it again in labelme.",
        )
    return mask


def _image_bytes(content: Mapping[str, Any], path: Path) -> tuple[bytes, bool]:
    """Return the bytes of the image's file, and whether it is a file of its own."""
    if content.get("imageData"):
        try:
            return base64.b64decode(content["imageData"], validate=True), False
        except (binascii.Error, TypeError, ValueError) as error:
            raise DataError(f"{path} holds an image that cannot be decoded: {error}.") from None
    name = content.get("imagePath")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path} neither holds its image nor names it (imageData, imagePath).")
    file = declared_beside(name, path.parent)
    if not file.is_file():
        raise DataError(
            f"{path} names the image {name}, which does not exist.",
            f"Copy the image to {file}; labelme saves the JSON file beside it.",
        )
    return file.read_bytes(), True


def _upright(
    data: bytes, external: bool, annotated_size: tuple[Any, Any], path: Path
) -> tuple[tuple[bytes, str], tuple[int, int]]:
    """Return the image's content and suffix, rotated as it was shown to the annotator, and its (height, width)."""
    from PIL import Image as pillow
    from PIL import ImageOps

    try:
        with _open(data) as picture:
            picture.load()
            stored = picture.size[1], picture.size[0]
            rotated = (
                ImageOps.exif_transpose(picture) if external and picture.getexif().get(ORIENTATION_TAG, 1) > 1 else None
            )
            if picture.getexif().get(ORIENTATION_TAG, 1) == 1:
                return (data, FORMATS[str(picture.format)]), stored
            # saved without the orientation, which would turn the image once more when it is read
            unrotated = rotated is None or annotated_size == stored != (rotated.size[1], rotated.size[0])
            upright = pillow.fromarray(np.asarray(picture)) if rotated is None or unrotated else rotated
            buffer = io.BytesIO()
            upright.save(buffer, "PNG")
            return (buffer.getvalue(), ".png"), (upright.size[1], upright.size[0])
    except Exception as error:  # pillow raises several unrelated types for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"The image of {path} cannot be read: {reason}.", "It is damaged: export it again.") from None


def _open(data: bytes) -> Picture:
    from PIL import Image as pillow

    return pillow.open(io.BytesIO(data), formats=[*FORMATS])
