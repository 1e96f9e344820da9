"""Kinds of damage to a picture or its mask, each a function of the two files; `DAMAGE` says which finding names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as pillow


@dataclass(frozen=True)
class Pictures:
    """An image and its mask, as PNG."""

    image: Path
    mask: Path

    def read(self, path: Path) -> NDArray:
        return np.asarray(pillow.open(path))

    def save(self, path: Path, array: NDArray, **options: object) -> None:
        pillow.fromarray(np.ascontiguousarray(array)).save(path, **options)


def build(folder: Path, source: Path, names: Sequence[str], damage: Sequence[str] = ()) -> dict[str, str]:
    """Pairs of the nuclei set, the last of them damaged; the name of each such pair."""
    for name in names:
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / kind / f"{name}.png", folder / kind / f"{name}.png")
    damaged = dict(zip(damage, names[len(names) - len(damage) :], strict=True))
    for kind, name in damaged.items():
        DAMAGE[kind][1](Pictures(folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"))
    return damaged


def is_dark(path: Path) -> bool:
    """Whether a picture is one of the many of 256 x 256 pixels with bright nuclei on black."""
    array = np.asarray(pillow.open(path))
    return array.shape[:2] == (256, 256) and 4 < np.median(array[..., 0]) < 30 and np.ptp(array[..., 0]) > 60


def jpeg_mask(files: Pictures) -> None:
    files.save(files.mask.with_suffix(".jpg"), files.read(files.mask), quality=70)
    files.mask.unlink()


def jpeg_under_another_name(files: Pictures) -> None:
    files.save(files.mask, files.read(files.mask), format="JPEG", quality=70)


def blurred_mask(files: Pictures) -> None:
    mask = files.read(files.mask).astype(float)
    for _ in range(2):
        mask = (mask + np.roll(mask, 1, 0) + np.roll(mask, 1, 1) + np.roll(mask, -1, 0) + np.roll(mask, -1, 1)) / 5
    files.save(files.mask, mask.astype(np.uint8))


def smaller_mask(files: Pictures) -> None:
    files.save(files.mask, files.read(files.mask)[::2, ::2])


def varying_alpha(files: Pictures) -> None:
    image = files.read(files.image)[..., :3]
    alpha = np.arange(image.shape[1], dtype=np.uint8) * np.ones((image.shape[0], 1), np.uint8)
    files.save(files.image, np.dstack([image, alpha]))


def grey_image(files: Pictures) -> None:
    files.save(files.image, files.read(files.image)[..., 0])


def half_a_picture(files: Pictures) -> None:
    data = files.image.read_bytes()
    files.image.write_bytes(data[: len(data) // 2])


def white_picture(files: Pictures) -> None:
    files.save(files.image, np.full_like(files.read(files.image), 255))


def black_mask(files: Pictures) -> None:
    files.save(files.mask, np.zeros_like(files.read(files.mask)))


def exchanged_mask(files: Pictures) -> None:
    files.save(files.mask, 255 - files.read(files.mask))


def another_grey(files: Pictures) -> None:
    mask = files.read(files.mask).copy()
    mask[:40, :40] = 100
    files.save(files.mask, mask)


DAMAGE: dict[str, tuple[str, Callable[[Pictures], None]]] = {
    "JPEG mask": ("lossy label", jpeg_mask),
    "JPEG called PNG": ("lossy label", jpeg_under_another_name),
    "blurred mask": ("soft label", blurred_mask),
    "smaller mask": ("label grid", smaller_mask),
    "varying alpha": ("unreadable", varying_alpha),
    "grey image": ("other channels", grey_image),
    "half a picture": ("unreadable", half_a_picture),
    "white picture": ("empty image", white_picture),
    "black mask": ("empty label", black_mask),
    "exchanged mask": ("full label", exchanged_mask),
    "another grey": ("rare label", another_grey),
}
"""Damage by name: the kind of finding that has to name the pair, and what is done to it."""
