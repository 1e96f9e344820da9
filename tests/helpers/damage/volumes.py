"""Kinds of damage to a case of volumes, each a function of its files; `DAMAGE` says which finding has to name it."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as pillow


@dataclass(frozen=True)
class Files:
    """The files of one case, arrays (x, y, z) as NIfTI stores them, and those of a case that stays clean."""

    image: Path
    label: Path
    other_image: Path
    other_label: Path

    @property
    def scan(self) -> NDArray:
        return np.asarray(nib.load(self.image).dataobj)

    @property
    def mask(self) -> NDArray:
        return np.asarray(nib.load(self.label).dataobj).astype(np.uint8)

    @property
    def affine(self) -> NDArray:
        return nib.load(self.image).affine

    def save_scan(self, array: NDArray, affine: NDArray | None = None) -> None:
        save(self.image, array, self.affine if affine is None else affine)

    def save_mask(self, array: NDArray, affine: NDArray | None = None) -> None:
        save(self.label, array, self.affine if affine is None else affine)

    def save_both(self, cut: Callable[[NDArray], NDArray], affine: NDArray | None = None) -> None:
        scan, mask, grid = self.scan, self.mask, self.affine if affine is None else affine
        self.save_scan(cut(scan), grid)
        self.save_mask(cut(mask), grid)


def save(path: Path, array: NDArray, affine: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)


# --- files that are broken ---


def garbage(files: Files) -> None:
    files.image.write_bytes(np.random.default_rng(0).bytes(20_000))


def another_format(files: Files) -> None:
    pillow.fromarray(np.zeros((9, 9), np.uint8)).save(files.image.with_suffix(".png"))
    os.replace(files.image.with_suffix(".png"), files.image)


def truncated(files: Files) -> None:
    files.image.write_bytes(files.image.read_bytes()[:-5000])


def truncated_label(files: Files) -> None:
    files.label.write_bytes(files.label.read_bytes()[:-200])


def short_body(files: Files) -> None:
    files.image.write_bytes(gzip.compress(gzip.decompress(files.image.read_bytes())[:-1000]))


def no_bytes(files: Files) -> None:
    files.image.write_bytes(b"")


def header_alone(files: Files) -> None:
    files.image.write_bytes(gzip.compress(gzip.decompress(files.image.read_bytes())[:352]))


def wrong_checksum(files: Files) -> None:
    data = bytearray(files.image.read_bytes())
    data[-8] ^= 255
    files.image.write_bytes(bytes(data))


def flat_affine(files: Files) -> None:
    affine = files.affine
    affine[:3, 2] = affine[:3, 1]
    files.save_scan(files.scan, affine)


def complex_numbers(files: Files) -> None:
    files.save_scan(files.scan.astype(np.complex64))


# --- voxels that are wrong ---


def nan(files: Files) -> None:
    array = files.scan.astype(np.float32)
    array[5, 5, 5] = np.nan
    files.save_scan(array)


def infinite(files: Files) -> None:
    array = files.scan.astype(np.float32)
    array[-1, -1, -1] = -np.inf
    files.save_scan(array)


def zeros(files: Files) -> None:
    files.save_scan(np.zeros_like(files.scan))


def two_channels(files: Files) -> None:
    files.save_scan(np.stack([files.scan] * 2, -1))


def scaled(files: Files) -> None:
    scan = files.scan.astype(np.float32)
    files.save_scan(scan * np.float32(1e-4 / scan.mean()))


def shifted(files: Files) -> None:
    scan = files.scan.astype(np.float32)
    files.save_scan(scan + 10 * np.ptp(scan))


def inverted(files: Files) -> None:
    files.save_scan(files.scan.max() - files.scan)


def overflown(files: Files) -> None:
    scan = files.scan.astype(np.float64)
    files.save_scan((scan / np.quantile(scan, 0.9) * 40_000).astype(np.int64).astype(np.uint16).view(np.int16))


def saturated(files: Files) -> None:
    scan = files.scan
    files.save_scan(np.minimum(scan, np.quantile(scan, 0.7).astype(scan.dtype)))


# --- labels that are wrong ---


def unknown_value(files: Files) -> None:
    mask = files.mask
    mask[mask == 2] = 7
    files.save_mask(mask)


def negative_value(files: Files) -> None:
    files.save_mask(np.where(files.mask == 2, -1, files.mask).astype(np.int16))


def soft(files: Files) -> None:
    mask = files.mask.astype(np.float32)
    files.save_mask((mask + np.roll(mask, 1, 0)) / 2)


def label_channels(files: Files) -> None:
    mask = files.mask
    files.save_mask(np.stack([mask == 1, mask == 2], -1).astype(np.uint8))


def empty_label(files: Files) -> None:
    files.save_mask(np.zeros_like(files.mask))


def one_structure(files: Files) -> None:
    files.save_mask(np.where(files.mask == 2, 0, files.mask).astype(np.uint8))


def inverted_mask(files: Files) -> None:
    files.save_mask((files.mask == 0).astype(np.uint8))


def outside(files: Files) -> None:
    scan = files.scan.copy()
    where = np.nonzero(files.mask)
    scan[min(where[0]) - 1 :, min(where[1]) - 1 : max(where[1]) + 1] = 0
    files.save_scan(scan)


def not_there(files: Files) -> None:
    files.label.unlink()


def image_not_there(files: Files) -> None:
    files.image.unlink()


# --- grids that differ ---


def cropped_label(files: Files) -> None:
    files.save_mask(files.mask[:, 1:, :])


def moved_label(files: Files) -> None:
    affine = files.affine
    affine[0, 3] += 3
    files.save_mask(files.mask, affine)


def turned_label(files: Files) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    files.save_mask(files.mask, turn @ files.affine)


def mirrored_label(files: Files) -> None:
    affine = files.affine
    affine[:3, 3] += affine[:3, 0] * (files.mask.shape[0] - 1)
    affine[:3, 0] *= -1
    files.save_mask(files.mask, affine)


def stretched_label(files: Files) -> None:
    files.save_mask(files.mask, files.affine @ np.diag([1, 1, 2, 1]))


def coarse(files: Files) -> None:
    files.save_both(lambda array: array[:, :, ::1], files.affine @ np.diag([1, 1, 5, 1]))


def half(files: Files) -> None:
    files.save_both(lambda array: np.concatenate([array] * 3, 1))


def two_affines(files: Files) -> None:
    image = nib.load(files.image)
    image.set_sform(image.affine, code=1)
    qform = image.affine.copy()
    qform[0, 3] += 20
    image.set_qform(qform, code=1)
    data = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    files.image.write_bytes(gzip.compress(data.to_bytes()))


# --- what a set holds twice ---


def copied(files: Files) -> None:
    shutil.copyfile(files.other_image, files.image)
    shutil.copyfile(files.other_label, files.label)


def turned_copy(files: Files) -> None:
    """The same scan in another orientation, type and compression, under another name."""
    for source, target in ((files.other_image, files.image), (files.other_label, files.label)):
        image = nib.load(source).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
        save(target, np.asarray(image.dataobj).astype(np.float32), image.affine)


def label_of_another(files: Files) -> None:
    shutil.copyfile(files.other_label, files.label)
    shape = nib.load(files.label).shape
    files.save_scan(np.resize(files.scan, shape), nib.load(files.label).affine)


def in_the_test_set(files: Files) -> None:
    target = files.image.parents[1] / "imagesTs" / "patient_x_0000.nii.gz"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(files.image, target)


def name_in_the_test_set(files: Files) -> None:
    target = files.image.parents[1] / "imagesTs" / files.image.name
    target.parent.mkdir(exist_ok=True)
    save(target, nib.load(files.other_image).get_fdata().astype(np.float32), np.eye(4))


DAMAGE: dict[str, tuple[str, Callable[[Files], None]]] = {
    "garbage": ("unreadable", garbage),
    "another format": ("unreadable", another_format),
    "flat affine": ("unreadable", flat_affine),
    "complex numbers": ("unreadable", complex_numbers),
    "wrong checksum": ("unreadable", wrong_checksum),
    "truncated": ("truncated", truncated),
    "truncated label": ("truncated", truncated_label),
    "short body": ("truncated", short_body),
    "no bytes": ("truncated", no_bytes),
    "header alone": ("no data", header_alone),
    "NaN": ("not finite", nan),
    "infinite": ("not finite", infinite),
    "zeros": ("empty image", zeros),
    "two channels": ("other channels", two_channels),
    "unknown value": ("unknown label", unknown_value),
    "negative value": ("unknown label", negative_value),
    "soft label": ("soft label", soft),
    "label channels": ("label channels", label_channels),
    "no label file": ("missing label", not_there),
    "no image file": ("missing image", image_not_there),
    "cropped label": ("label grid", cropped_label),
    "moved label": ("label grid", moved_label),
    "turned label": ("label grid", turned_label),
    "mirrored label": ("label grid", mirrored_label),
    "stretched label": ("label grid", stretched_label),
    "empty label": ("empty label", empty_label),
    "one structure": ("missing structure", one_structure),
    "inverted mask": ("full label", inverted_mask),
    "label outside": ("label outside", outside),
    "scaled": ("intensity", scaled),
    "shifted": ("intensity", shifted),
    "inverted": ("intensity", inverted),
    "overflown": ("intensity", overflown),
    "saturated": ("saturation", saturated),
    "coarse": ("spacing", coarse),
    "three scans in one": ("shape", half),
    "two affines": ("two affines", two_affines),
    "copied": ("duplicate image", copied),
    "turned copy": ("duplicate image", turned_copy),
    "label of another": ("duplicate label", label_of_another),
    "in the test set": ("two folders", in_the_test_set),
    "name in the test set": ("two folders", name_in_the_test_set),
}
"""Damage by name: the kind of finding that has to name the case, and what is done to it."""
