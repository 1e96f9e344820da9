"""Write small stand-ins for the data sets of docs/from-the-textbook.md, each laid out as the published one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as pillow

SIZE = 64
_COLOURS = np.array(
    [
        (20, 20, 30),
        (200, 60, 60),
        (60, 190, 70),
        (70, 80, 210),
        (210, 200, 70),
        (190, 80, 200),
        (80, 200, 200),
        (150, 150, 150),
        (120, 70, 30),
        (240, 150, 40),
        (30, 110, 60),
    ]
)
"""What a class looks like in an image."""


def blobs(number: int, classes: int, size: int = SIZE) -> NDArray[np.uint8]:
    """Return a mask (row, column) in which each class is the area nearest to one of some random centres."""
    generator = np.random.default_rng(number)
    centres = generator.uniform(0, size, (2 * classes, 2))
    rows, columns = np.mgrid[:size, :size]
    distances = (rows[..., None] - centres[:, 0]) ** 2 + (columns[..., None] - centres[:, 1]) ** 2
    return (distances.argmin(-1) % classes).astype(np.uint8)


def scene(number: int, classes: int, size: int = SIZE) -> NDArray[np.uint8]:
    """Return a mask in which classes lie above each other in bands, as sky, building and road do."""
    generator = np.random.default_rng(number)
    edges = np.linspace(0, size, classes + 1)[1:-1] + generator.uniform(-2, 2, classes - 1)
    rows = np.arange(size)[:, None] + 3 * np.sin(np.arange(size) / 7 + number)
    return np.searchsorted(edges, rows).astype(np.uint8)


def picture(mask: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return a noisy colour image (row, column, colour) of a mask."""
    noise = np.random.default_rng(100 + number).normal(0, 12, (*mask.shape, 3))
    return np.clip(_COLOURS[mask] + noise, 0, 255).astype(np.uint8)


def save(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an image in the format that the name says, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(array).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def write_tissue(folder: Path, cases: int = 10) -> None:
    """Write train/ and test/, each with images/ and masks/ with the values 0 to 4."""
    for number in range(cases):
        mask, part = blobs(number, 5), folder / ("test" if number % 5 == 4 else "train")
        save(part / "images" / f"tile_{number:02d}.png", picture(mask, number))
        save(part / "masks" / f"tile_{number:02d}.png", mask)


def write_cells(folder: Path, cases: int = 10) -> None:
    """Write images/ (JPEG) and masks/ (PNG, 0 and 255) of one class."""
    for number in range(cases):
        mask = (blobs(number, 4) == 1).astype(np.uint8)
        save(folder / "images" / f"cell_{number:02d}.jpg", picture(mask, number))
        save(folder / "masks" / f"cell_{number:02d}.png", mask * np.uint8(255))


def write_pets(folder: Path, cases: int = 12) -> None:
    """Write images/ of different sizes, annotations/trimaps/ (1 pet, 2 background, 3 border), trainval and test."""
    names = []
    rows, columns = np.mgrid[:80, :96]
    for number in range(cases):
        distance = np.hypot(rows - 40 - number % 5, columns - 48 + 2 * (number % 4))
        trimap = np.where(distance < 20, 1, np.where(distance < 25, 3, 2)).astype(np.uint8)
        trimap = trimap[: 72 + 2 * (number % 3), : 88 + 2 * (number % 4)]
        name = f"{('Abyssinian', 'beagle')[number % 2]}_{number + 1}"
        save(folder / "images" / f"{name}.jpg", picture((trimap != 2).astype(np.uint8) * np.uint8(4), number))
        save(folder / "annotations" / "trimaps" / f"{name}.png", trimap)
        names.append(f"{name} {number % 2 + 1} {2 - number % 2} 1\n")
    (folder / "annotations" / "trainval.txt").write_text("".join(names[:-3]))
    (folder / "annotations" / "test.txt").write_text("".join(names[-3:]))


def write_driving(folder: Path, cases: int = 4) -> None:
    """Write leftImg8bit/ and gtFine/ as IDD's, with the classes 0 to 7 and 255 where there is none; none of test."""
    for part, count in (("train", cases), ("val", 2), ("test", 2)):
        for number in range(count):
            mask = scene(number + 10 * (part != "train"), 8)
            name = f"{part}/{number % 2}/frame{number:04d}"
            save(folder / "leftImg8bit" / f"{name}_leftImg8bit.png", picture(mask, number))
            mask[-4:, 20:44] = 255  # the bonnet of the car
            if part == "test":
                continue
            save(folder / "gtFine" / f"{name}_gtFine_labellevel1Ids.png", mask)


def write_camvid(folder: Path) -> None:
    """Write train/ beside trainannot/ and so on, with the classes 0 to 10 and 11 for void."""
    for part, count in (("train", 6), ("val", 3), ("test", 3)):
        for number in range(count):
            mask = scene(number + 20 * len(part), 11)
            name = f"0001TP_{len(part)}{number:05d}.png"
            save(folder / part / name, picture(mask, number))
            mask[:3, :3] = 11
            save(folder / f"{part}annot" / name, mask)


def write_portraits(folder: Path, cases: int = 8) -> None:
    """Write photographs with labelme's JSON beside them, and labels.txt."""
    folder.mkdir(parents=True)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for number in range(cases):
        x, y = 30 + number % 4, 34 - number % 3
        mask = (np.hypot((rows - y) / 1.3, columns - x) < 15).astype(np.uint8)
        save(folder / f"portrait_{number}.jpg", picture(mask * np.uint8(4), number))
        points = np.stack([x + 0.5 + 15 * np.cos(angles), y + 0.5 + 19.5 * np.sin(angles)], axis=1)
        shape = {"label": "person", "points": points.tolist(), "shape_type": "polygon", "group_id": None, "flags": {}}
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": [shape],
            "imagePath": f"portrait_{number}.jpg",
            "imageData": None,
            "imageHeight": SIZE,
            "imageWidth": SIZE,
        }
        (folder / f"portrait_{number}.json").write_text(json.dumps(content, indent=2))
    (folder / "labels.txt").write_text("__ignore__\n_background_\nperson\n")
