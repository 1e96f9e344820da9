"""Annotations as labelme writes them, and the masks that become of them."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image as pillow

from medseg.io.images import read_label

HEIGHT, WIDTH = 20, 30
BOX = [[2, 3], [6, 9]]  # 4 x 6 pixels


def encoded(array: np.ndarray, kind: str = "PNG") -> str:
    stream = io.BytesIO()
    pillow.fromarray(array).save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def shape(label: str, points: object, kind: str = "polygon", **others: object) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **others}


def write(folder: Path, name: str, *shapes: dict, **others: object) -> Path:
    """A JSON file as labelme writes it, with an embedded grey image."""
    folder.mkdir(exist_ok=True)
    image = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH).astype(np.uint8)
    content = {
        "version": "5.5.0",
        "shapes": list(shapes),
        "imagePath": f"{name}.png",
        "imageData": encoded(image),
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **others,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def mask_of(folder: Path, name: str = "a") -> np.ndarray:
    return read_label(folder / "masks" / f"{name}.png").array[0, 0]


def areas(folder: Path, name: str = "a") -> dict[int, int]:
    values, counts = np.unique(mask_of(folder, name), return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value}
