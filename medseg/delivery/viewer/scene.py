"""The scene of a viewer page: a scan, label maps on its grid, and the structures in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from medseg.core.colours import rgb_number
from medseg.core.image import Image
from medseg.core.wording import counted

MOST_VOXELS = 20_000_000
"""A scan with more voxels is thinned for the page: browsers hold it several times, and the page stays below 80 MB."""
_MOST_STRUCTURES = 65535
"""Values that 16 bits can number beside the background."""
_CT_AIR = -500
"""A scan with values below it is taken for CT, and gets the usual windows."""
_CT_WINDOWS = {
    "CT soft tissue": (-160.0, 240.0),
    "CT liver": (-30.0, 170.0),
    "CT lung": (-1350.0, 150.0),
    "CT bone": (-500.0, 1300.0),
    "CT brain": (0.0, 80.0),
}
"""Name -> lowest and highest value shown, in HU, from the usual width and level (such as W 400 L 40)."""


@dataclass(frozen=True)
class Structure:
    """A value of the label maps.

    Attributes:
        name: what it is called.
        value: the number in the files.
        colour: red, green, blue in 8 bits.
        sizes: its size in each label map, as text; empty where it is not there.
        centre_mm: where it is, in the largest slice of the first label map that has it: (x, y, z) as the affine gives
            them; None if none has it.
    """

    name: str
    value: int
    colour: tuple[int, int, int]
    sizes: tuple[str, ...]
    centre_mm: tuple[float, float, float] | None


@dataclass(frozen=True)
class Scene:
    """Everything that a page shows.

    Attributes:
        title: heading of the page.
        scan: (channel, z, y, x): one channel, or the colours of a 2D image.
        layers: {name: numbers of structures (z, y, x), counted from 1 in the order of `structures`; 0 is none}.
        structures: the values of all label maps.
        windows: {name: (lowest, highest value shown)}; the first is shown first.
        notes: what the page leaves out or changes, in sentences.
        sides_known: whether the file says which side of the patient is which.
    """

    title: str
    scan: Image
    layers: Mapping[str, NDArray]
    structures: tuple[Structure, ...]
    windows: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    sides_known: bool = True

    @property
    def flat(self) -> bool:
        """Whether it is a 2D image."""
        return self.scan.shape_zyx[0] == 1


def make_scene(
    title: str,
    scan: Image,
    labels: Mapping[str, Image],
    names: Mapping[int, str],
    background: int | None = 0,
    sides_known: bool = True,
) -> Scene:
    """Return the scene of a scan and label maps on its grid.

    Args:
        title: heading of the page.
        scan: (channel, z, y, x); of a volume one channel.
        labels: {name: label map (1, z, y, x) on the scan's grid}.
        names: {value: structure}, in the order that gives them their colours; other values are called by their number.
        background: the value that is no structure; None if every value is one.
        sides_known: whether the file says which side of the patient is which.

    Returns:
        The scene; volumes of structures are those of the label maps as they are, also where the page is thinned.
    """
    sizes_of = {name: _sizes(image, background) for name, image in labels.items()}
    values = sorted({value for sizes in sizes_of.values() for value in sizes})[:_MOST_STRUCTURES]
    # as in every other picture, a structure has its colour whether or not others are there
    colours = {value: rgb_number(number) for number, value in enumerate(dict.fromkeys([*names, *values]))}
    steps = thinning(scan.shape_zyx, scan.spacing_mm)
    shown = thin(scan, steps)
    layers = {name: _numbers(thin(image, steps).array[0], values) for name, image in labels.items()}
    structures = tuple(
        Structure(
            name=names.get(value, f"value {value}"),
            value=value,
            colour=colours[value],
            sizes=tuple(sizes.get(value, "") for sizes in sizes_of.values()),
            centre_mm=_centre(layers.values(), number + 1, shown.affine),
        )
        for number, value in enumerate(values)
    )
    notes = [] if max(steps) == 1 else [_thinned(scan, steps)]
    return Scene(title, shown, layers, structures, _windows(shown.array), (*scan.notes, *notes), sides_known)


def shown_channels(image: Image, channel: int) -> Image:
    """Return the part of a scan that a page shows: the colours of a 2D image, or one channel.

    Args:
        image: (channel, z, y, x).
        channel: which one, counted from 0.
    """
    if image.shape_zyx[0] == 1 and len(image.array) == 3 and image.array.dtype.itemsize == 1:
        return image
    return image.with_array(image.array[channel : channel + 1])


def thinning(shape_zyx: Sequence[int], spacing_mm: Sequence[float], most: int = MOST_VOXELS) -> tuple[int, int, int]:
    """Return the step between shown voxels along z, y and x, chosen so that at most `most` voxels are shown.

    The axis of the finest voxels is thinned first, so that those that remain are as cubic as they can be.

    Args:
        shape_zyx: the voxels of the scan.
        spacing_mm: their distances along z, y and x.
        most: how many voxels may be shown.

    >>> thinning((300, 512, 512), (1.0, 0.75, 0.75), 20_000_000)
    (1, 2, 2)
    """
    steps = [1, 1, 1]
    while prod(-(-size // step) for size, step in zip(shape_zyx, steps, strict=True)) > most:
        extents = [
            spacing * step if size > step else np.inf
            for spacing, step, size in zip(spacing_mm, steps, shape_zyx, strict=True)
        ]
        steps[int(np.argmin(extents))] += 1
    z, y, x = steps
    return z, y, x


def thin(image: Image, steps: tuple[int, int, int]) -> Image:
    """Return every n-th voxel of an image, n along z, y and x as given; the first voxel stays where it is."""
    z, y, x = steps
    affine = image.affine @ np.diag([x, y, z, 1.0])
    return Image(np.ascontiguousarray(image.array[:, ::z, ::y, ::x]), affine, image.spacing_known)


def _thinned(scan: Image, steps: tuple[int, int, int]) -> str:
    shape = " x ".join(map(str, scan.shape_zyx))
    kept = " x ".join(map(str, steps))
    return (
        f"The scan has {shape} voxels (z, y, x); the page shows one of {kept}, scan and labels alike. "
        "Sizes are those of the whole label maps."
    )


def _sizes(label: Image, background: int | None) -> dict[int, str]:
    """Return {value: its volume, area or number of pixels, as text}."""
    values, counts = np.unique(label.array, return_counts=True)
    sizes = {}
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value == background:
            continue
        flat = label.shape_zyx[0] == 1
        if not label.spacing_known:
            sizes[value] = counted(count, "pixel" if flat else "voxel")
        elif flat:
            sizes[value] = f"{count * label.spacing_mm[1] * label.spacing_mm[2]:.4g} mm2"
        else:
            sizes[value] = f"{count * (label.voxel_volume_ml or 0):.4g} ml"
    return sizes


def _numbers(array: NDArray, values: Sequence[int]) -> NDArray:
    """Return for each voxel the number of its structure, from 1, in the smallest unsigned type; 0 for others."""
    places = np.clip(np.searchsorted(values, array), 0, max(len(values) - 1, 0))
    known = np.asarray(values or [0])[places] == array if values else np.zeros(array.shape, bool)
    return np.where(known, places + 1, 0).astype(np.uint8 if len(values) < 256 else np.uint16)


def _centre(layers: Iterable[NDArray], number: int, affine: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Return where a structure is: of its largest slice, the voxel of it that is closest to the middle of its area."""
    for array in layers:
        mask = array == number
        areas = mask.sum(axis=(1, 2))
        if areas.any():
            z = int(areas.argmax())
            rows, columns = np.nonzero(mask[z])
            nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
            x_mm, y_mm, z_mm, _ = (affine @ [columns[nearest], rows[nearest], z, 1]).tolist()
            return x_mm, y_mm, z_mm
    return None


def _windows(array: NDArray) -> dict[str, tuple[float, float]]:
    """Return which values can be shown between black and white."""
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if not finite.size:
        return {"all values": (0.0, 1.0)}
    sample = finite.reshape(-1)[:: max(1, finite.size // 1_000_000)]
    low, high = np.percentile(sample, [1, 99.5]).tolist()
    whole = (float(finite.min()), float(finite.max()))
    automatic = {"automatic": (low, high) if low < high else whole, "all values": whole}
    return {**_CT_WINDOWS, **automatic} if whole[0] < _CT_AIR else automatic
