"""Data sets with annotations of COCO, small enough to count their pixels by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

CATEGORIES = [{"id": 1, "name": "cell"}, {"id": 3, "name": "nucleus"}]


def image(id: object, file_name: str, height: int = 4, width: int = 5) -> dict[str, Any]:
    return {"id": id, "file_name": file_name, "height": height, "width": width}


def annotation(
    image_id: object, segmentation: object, category: object = 1, id: int = 1, **more: object
) -> dict[str, Any]:
    return {"id": id, "image_id": image_id, "category_id": category, "segmentation": segmentation, **more}


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """A polygon around whole pixels."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def write_coco(path: Path, images: list[Any], annotations: list[Any] | None, categories: object = CATEGORIES) -> Path:
    """Write an annotation file; None for annotations writes a list of test images."""
    content: dict[str, Any] = {"images": images, "categories": categories}
    if annotations is not None:
        content["annotations"] = annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_images(folder: Path, *names: str, height: int = 4, width: int = 5) -> None:
    """Write pictures, each with other pixels."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        pillow.fromarray(pixels).save(folder / name)
