"""Files of data sets in their layouts: empty ones, a dataset.json, and what was found by case."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as pillow

LIVER = {"background": 0, "liver": 1}


def write_json(folder: Path, **content: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def files_of(data) -> dict[str, list[str]]:
    return {
        case.id: [path.relative_to(data.folder).as_posix() for path in (*case.channels, case.label)]
        for case in data.cases
    }


def write_pictures(folder: Path, pairs: dict[str, str], classes: int = 3, size: int = 32, first: int = 0) -> None:
    """Write pictures whose brightness says the class, and their masks with the classes `first` and so on in stripes.

    `pairs` is {image file: mask file}, relative to the folder; a mask called "" is not written.
    """
    for number, (image, mask) in enumerate(pairs.items()):
        generator = np.random.default_rng(number)
        stripes = np.repeat(np.arange(size) * classes // size, size).reshape(size, size).astype(np.uint8)
        stripes = np.roll(stripes, number, axis=0)
        noise = generator.integers(0, 30, (size, size, 3))
        for name, array in ((image, stripes[..., None] * 70 + noise), (mask, stripes + first)):
            if name:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                pillow.fromarray(array.astype(np.uint8)).save(folder / name)
