"""Write what was drawn in labelme as COCO's annotation file; `labelme` reads and paints the shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.annotations.labelme import Annotation, Shape


@dataclass(frozen=True)
class ImageEntries:
    """The entries of one image in an annotation file, without ids.

    Attributes:
        image: its file, height and width.
        objects: category, outline, area and box of each object.
    """

    image: dict[str, Any]
    objects: list[dict[str, Any]]


def image_entries(
    file_name: str,
    annotation: Annotation,
    objects: NDArray[np.int32],
    numbers: Sequence[int],
    values: Mapping[str, int],
) -> ImageEntries:
    """Return the entries of an image.

    Objects hold the pixels that are visible once all shapes are painted, so that no two overlap. One that nothing
    covers is written as it was drawn, as polygons; another one, or one with circles or stored masks, as a run-length
    code.

    Args:
        file_name: the name of the image's file.
        annotation: the shapes.
        objects: (y, x) number of the object that is visible at each pixel, 0 for none.
        numbers: of the object that each shape belongs to.
        values: {class: its value}.
    """
    entries = []
    for number in dict.fromkeys(numbers):
        shapes = [shape for shape, of_shape in zip(annotation.shapes, numbers, strict=True) if of_shape == number]
        visible = objects == number
        if not visible.any():
            continue
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        whole = all(_outline(shape) for shape in shapes) and np.array_equal(visible, _drawn(shapes, annotation.shape))
        entries.append(
            {
                "category_id": values[shapes[0].label],
                "segmentation": [_outline(shape) for shape in shapes] if whole else run_lengths(visible),
                "area": int(visible.sum()),
                "bbox": [int(value) for value in box],
                "iscrowd": 0,
            }
        )
    height, width = annotation.shape
    return ImageEntries({"file_name": file_name, "height": height, "width": width}, entries)


def coco_content(listed: Sequence[ImageEntries], structures: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of an annotation file.

    Args:
        listed: the images.
        structures: {name: value}; the values are the ids of the categories.
    """
    ordered = sorted(listed, key=lambda entries: str(entries.image["file_name"]))
    images = [{"id": number, **entries.image} for number, entries in enumerate(ordered, start=1)]
    objects = [(number, entry) for number, entries in enumerate(ordered, start=1) for entry in entries.objects]
    return {
        "images": images,
        "categories": [{"id": value, "name": name} for name, value in structures.items()],
        "annotations": [
            {"id": number, "image_id": image, **entry} for number, (image, entry) in enumerate(objects, start=1)
        ],
    }


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the run-length code of a mask (y, x): runs down the columns, of background first.

    >>> run_lengths(np.array([[0, 1, 0], [1, 0, 0]], bool))
    {'size': [2, 3], 'counts': [1, 2, 3]}
    """
    pixels = np.concatenate([[False], mask.T.reshape(-1)])
    starts = np.flatnonzero(pixels[1:] != pixels[:-1])
    return {"size": [*mask.shape], "counts": np.diff(np.concatenate([[0], starts, [mask.size]])).tolist()}


def _outline(shape: Shape) -> list[float] | None:
    """Return the corners of a shape as x, y, x, y; None for one that is no polygon."""
    if shape.kind == "polygon" and shape.has_area:
        return [float(value) for value in shape.points.reshape(-1)]
    if shape.kind == "rectangle" and shape.has_area:
        (left, top), (right, bottom) = shape.points.min(axis=0).tolist(), shape.points.max(axis=0).tolist()
        return [left, top, right, top, right, bottom, left, bottom]
    return None


def _drawn(shapes: Sequence[Shape], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels (y, x) that shapes cover together."""
    pixels = np.zeros(size, bool)
    for shape in shapes:
        box, inside = shape.pixels(size)
        pixels[box] |= inside
    return pixels
