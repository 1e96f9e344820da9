"""Ten ways in which a scan is spoilt on purpose, with what becomes of its reference: a table, for `quality.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.image import Image

Degrade = Callable[[Image, Image, np.random.Generator], tuple[Image, Image]]
"""Takes scan, reference and randomness, and returns the spoilt scan and its reference."""


def _scan_only(change: Callable[[NDArray, np.random.Generator], NDArray]) -> Degrade:
    def degrade(scan: Image, label: Image, random: np.random.Generator) -> tuple[Image, Image]:
        return scan.with_array(change(scan.array.astype(np.float32), random)), label

    return degrade


def _noise(array: NDArray, random: np.random.Generator) -> NDArray:
    return array + random.normal(scale=1.5 * array.std(), size=array.shape)


def _blur(array: NDArray, random: np.random.Generator) -> NDArray:
    return ndimage.gaussian_filter(array, (0, 3, 3, 3))


def _bias(array: NDArray, random: np.random.Generator) -> NDArray:
    """A field that is darkest in one corner (a tenth) and brightest in the other (twice)."""
    sizes = array.shape[1:]
    ramps = np.meshgrid(*[np.linspace(0, 1, size) for size in sizes], indexing="ij")
    return array * np.exp(np.log(0.1) + np.log(20) * sum(ramps) / sum(size > 1 for size in sizes))


def _spikes(array: NDArray, random: np.random.Generator) -> NDArray:
    """Three points of k-space far too bright: stripes over the whole scan."""
    axes = (1, 2, 3)
    spectrum = np.fft.fftn(array, axes=axes)
    for _ in range(3):
        place = tuple(random.integers(2, size // 2) if size > 1 else 0 for size in spectrum.shape[1:])
        spectrum[(slice(None), *place)] += 0.5 * np.abs(spectrum).max()
    return np.real(np.fft.ifftn(spectrum, axes=axes)).astype(np.float32)


def _motion(array: NDArray, random: np.random.Generator) -> NDArray:
    """Two ghosts, shifted along y by a third of the scan, as when a patient moves while k-space is filled."""
    step = array.shape[2] // 3
    return 0.4 * array + 0.3 * np.roll(array, step, axis=2) + 0.3 * np.roll(array, -step, axis=2)


def _inverted(array: NDArray, random: np.random.Generator) -> NDArray:
    return array.max() - array


def _spacing(scan: Image, label: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """The header says that voxels are 2.5 times as large."""
    affine = scan.affine.copy()
    affine[:3, :3] *= 2.5
    return replace(scan, affine=affine), replace(label, affine=affine)


def _cropped(scan: Image, label: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """The scan ends in the middle of the structures, along the axis where they are longest."""
    axis, middle = max(
        ((axis, np.nonzero(label.array[0])[axis]) for axis in range(3)), key=lambda item: float(np.ptp(item[1]))
    )
    half = [slice(None)] * 4
    half[axis + 1] = slice(0, int(np.median(middle)) + 1)
    return replace(scan, array=scan.array[tuple(half)]), replace(label, array=label.array[tuple(half)])


def _flipped(axis: int) -> Degrade:
    """The voxels are reversed along an axis (z, y, x), and the header is not; an image has y for z."""

    def degrade(scan: Image, label: Image, random: np.random.Generator) -> tuple[Image, Image]:
        reversed_axis = max(axis, 0 if scan.array.shape[1] > 1 else 1) + 1
        return (
            scan.with_array(np.ascontiguousarray(np.flip(scan.array, reversed_axis))),
            label.with_array(np.ascontiguousarray(np.flip(label.array, reversed_axis))),
        )

    return degrade


WAYS: dict[str, Degrade] = {
    "noise": _scan_only(_noise),
    "blur": _scan_only(_blur),
    "bias field": _scan_only(_bias),
    "spikes in k-space": _scan_only(_spikes),
    "motion ghosts": _scan_only(_motion),
    "wrong spacing": _spacing,
    "structure cropped": _cropped,
    "upside down": _flipped(0),
    "left and right flipped": _flipped(2),
    "contrast inverted": _scan_only(_inverted),
}
"""Another body part is the eleventh: it needs another scan (`quality.py`)."""
OF_HEADERS = ("wrong spacing",)
"""Ways that images without a spacing cannot be spoilt in."""
