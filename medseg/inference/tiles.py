"""Tiles of the sliding window: where they lie, how much each counts at every voxel, and their mirrored copies.

The tiles form a grid, and the Gaussian weight of a tile is the product of one profile per axis. The sum of the weights
of all tiles is such a product too, so a tile's share in the mean (its weight divided by that sum) is stored as three
one-dimensional arrays instead of a volume. The rules are those of nnU-Net v2 (`sliding_window_prediction.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.plans.schema import Configuration
from medseg.plans.sections.inference import Inference

_EMPTY_RANGE = 1e-3
"""With `inference.skip_empty_tiles`, a tile counts as uniform if no channel's intensities differ by more than this."""
_EMPTY_DECIMALS = 2
"""Decimals that the intensity of such a tile is rounded to, so that tiles of nearly equal intensity share an answer."""
_CUT_SIGMAS = 4.0
"""Where scipy cuts the tails of a Gaussian, which nnU-Net leaves at that."""

Intensities = tuple[float, ...]
"""The intensity of each channel of a uniform tile."""


@dataclass(frozen=True, eq=False)  # tiles share spans, which are told apart by identity
class Span:
    """A tile along one axis.

    Attributes:
        volume: the part of the volume that the tile covers.
        tile: the same part in coordinates of the tile; all of the tile unless the volume is smaller than a tile.
        share: (voxels,) float32, weight of the tile along that part; over all spans of an axis the weights add up to
            one at every voxel.
    """

    volume: slice
    tile: slice
    share: torch.Tensor


@dataclass(frozen=True)
class Tile:
    """A tile of the sliding window.

    Attributes:
        spans: the tile along each axis (z, y, x).
        padded: whether the volume is smaller than the tile along an axis, so that part of the tile lies outside.
    """

    spans: tuple[Span, Span, Span]
    padded: bool

    @property
    def volume(self) -> tuple[slice, slice, slice]:
        """The part (z, y, x) of the volume that the tile covers."""
        z, y, x = self.spans
        return z.volume, y.volume, x.volume

    @property
    def planes(self) -> range:
        """The planes (indices along z) of the volume that the tile covers."""
        return range(self.spans[0].volume.start, self.spans[0].volume.stop)


@dataclass(frozen=True)
class View:
    """A tile as the networks see it: mirrored along some axes.

    Attributes:
        tile: the tile, a part of the volume.
        flip: the mirrored dimensions of a (channel, z, y, x) tensor; empty for the tile as it is.
    """

    tile: Tile
    flip: tuple[int, ...]

    def unmirror(self, values: torch.Tensor, planes: slice | None = None) -> torch.Tensor:
        """Undo the mirroring, and crop what lies outside the volume.

        Args:
            values: (channel, z, y, x) on the whole mirrored tile, such as logits.
            planes: which of the planes that the tile covers in the volume; None for all.

        Returns:
            (channel, z, y, x) as they lie in the volume; without mirroring a view of `values`, not a copy.
        """
        z, y, x = (span.tile for span in self.tile.spans)
        if planes is not None:
            z = slice(z.start + planes.start, z.start + planes.stop)
        part = values[self.mirrored(values.shape[1:], (z, y, x))]
        return part.flip(self.flip) if self.flip else part

    def mirrored(self, shape: Sequence[int], box: Sequence[slice]) -> tuple[slice, ...]:
        """Return where a box of the tile lies once the tile is mirrored, as an index into (channel, z, y, x).

        Args:
            shape: the shape of the whole tile (z, y, x).
            box: a part (z, y, x) of the tile that is not mirrored.
        """
        return (
            slice(None),
            *(
                slice(size - part.stop, size - part.start) if axis in self.flip else part
                for axis, (part, size) in enumerate(zip(box, shape, strict=True), start=1)
            ),
        )


@dataclass(frozen=True)
class Views:
    """Every view of a volume, in the order in which the networks see them.

    Attributes:
        tiles: all tiles, those that start at the first planes first.
        flips: combinations of mirrored dimensions; the empty one comes first.
        shape: the shape of a tile as the networks take it: (y, x) or (z, y, x).
        tolerance: how far intensities of a channel may lie apart in a tile that counts as uniform; 0 means exactly
            equal.
    """

    tiles: tuple[Tile, ...]
    flips: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    tolerance: float = 0.0

    @classmethod
    def of(cls, volume: Sequence[int], configuration: Configuration, inference: Inference) -> Views:
        """Return overlapping tiles, each with all combinations of the configuration's mirror axes.

        Args:
            volume: shape (z, y, x) of the preprocessed volume.
            configuration: says how large a tile is, and which axes may be mirrored.
            inference: says how far tiles are apart, how they are weighted, whether to mirror, and whether tiles that
                are nearly uniform share an answer.
        """
        tiles = grid_of_tiles(
            volume, configuration.patch_zyx, inference.step_fraction, inference.gaussian_sigma_fraction
        )
        axes = [4 - configuration.dimensions + axis for axis in configuration.mirror_axes if inference.mirror]
        flips = tuple(chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count))
        tolerance = _EMPTY_RANGE if inference.skip_empty_tiles else 0.0
        return cls(tiles, flips, tuple(configuration.patch_voxels), tolerance)

    def __len__(self) -> int:
        return len(self.tiles) * len(self.flips)

    def batch(self, start: int, count: int) -> list[View]:
        """Return up to `count` views from view number `start` on; the mirrored copies of a tile follow each other."""
        flips = len(self.flips)
        return [
            View(self.tiles[number // flips], self.flips[number % flips])
            for number in range(start, min(start + count, len(self)))
        ]

    def cut(self, image: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
        """Cut views from a volume as a batch for the networks; what lies outside the volume is zero.

        Args:
            image: the volume (channel, z, y, x).
            views: the views to cut.

        Returns:
            (view, channel, y, x) or (view, channel, z, y, x), on the device of `image`.
        """
        tile = (1,) * (3 - len(self.shape)) + self.shape
        batch = torch.empty((len(views), len(image), *tile), device=image.device)
        for view, out in zip(views, batch, strict=True):
            part = image[(slice(None), *view.tile.volume)]
            inside = view.mirrored(tile, [span.tile for span in view.tile.spans])
            if part.device.type == "cpu":
                # numpy reads backwards without a copy, and on one core: torch's threads would disturb OpenVINO's
                if view.tile.padded:
                    out.numpy()[:] = 0
                out.numpy()[inside] = np.flip(part.numpy(), view.flip)
            else:
                if view.tile.padded:
                    out.zero_()
                out[inside] = part.flip(view.flip)
        return batch.reshape(len(views), len(image), *self.shape)

    def depth(self, count: int) -> int:
        """Return the most planes that a batch of `count` consecutive views spans."""
        deepest = 0
        for start in range(0, len(self), count):
            last = min(start + count, len(self)) - 1
            first_tile, last_tile = self.tiles[start // len(self.flips)], self.tiles[last // len(self.flips)]
            deepest = max(deepest, last_tile.planes.stop - first_tile.planes.start)
        return deepest


def grid_of_tiles(
    shape: Sequence[int], tile: Sequence[int], step_fraction: float, sigma_fraction: float
) -> tuple[Tile, ...]:
    """Return every tile of a volume, those that start at the first planes first.

    Along an axis where the volume is smaller than a tile, it lies in the middle of the tile.

    Args:
        shape: the shape of the volume (z, y, x).
        tile: shape of a tile (z, y, x).
        step_fraction: largest distance of neighbouring tiles, as a share of the tile's size.
        sigma_fraction: standard deviation of the Gaussian weight, as a share of the tile's size.
    """
    axes = (axis_spans(size, length, step_fraction, sigma_fraction) for size, length in zip(shape, tile, strict=True))
    padded = any(size < length for size, length in zip(shape, tile, strict=True))
    return tuple(Tile((z, y, x), padded) for z, y, x in product(*axes))


def axis_spans(size: int, length: int, step_fraction: float, sigma_fraction: float) -> list[Span]:
    """Return the tiles along one axis.

    Args:
        size: voxels of the volume along the axis.
        length: voxels of a tile along the axis.
        step_fraction: as in `grid_of_tiles`.
        sigma_fraction: as in `grid_of_tiles`.
    """
    if size <= length:
        before = (length - size) // 2
        return [Span(slice(0, size), slice(before, before + size), torch.ones(size))]
    starts = axis_starts(size, length, step_fraction)
    profile = gaussian_profile(length, sigma_fraction)
    total = np.zeros(size)
    for start in starts:
        total[start : start + length] += profile
    shares = (torch.from_numpy(profile / total[start : start + length]).float() for start in starts)
    return [
        Span(slice(start, start + length), slice(0, length), share) for start, share in zip(starts, shares, strict=True)
    ]


def axis_starts(size: int, length: int, step_fraction: float) -> list[int]:
    """Return the first voxel of every tile along an axis that is at least as long as a tile.

    These are as few tiles as leave no distance larger than `step_fraction` of a tile, spread evenly and rounded.

    Args:
        size: voxels of the volume along the axis.
        length: voxels of a tile along the axis.
        step_fraction: as in `grid_of_tiles`.

    >>> axis_starts(10, 4, step_fraction=0.5)
    [0, 2, 4, 6]
    """
    # a step of at least one voxel: a 2D tile is one slice deep, and slices are then taken one by one
    count = ceil((size - length) / max(length * step_fraction, 1)) + 1
    stride = (size - length) / max(count - 1, 1)
    return [int(np.round(stride * number)) for number in range(count)]


@lru_cache(maxsize=64)
def gaussian_profile(length: int, sigma_fraction: float) -> NDArray[np.float64]:
    """Return the weight along a tile: a Gaussian around its centre, 1 at the centre and never zero.

    nnU-Net filters a unit impulse in three dimensions, cuts the tails at four sigma, and raises zeros to the smallest
    positive value; this is the one-dimensional profile of the same filter. With nnU-Net's sigma, an eighth of a tile,
    nothing is cut.

    Args:
        length: voxels of the tile.
        sigma_fraction: standard deviation as a share of `length`.
    """
    # written out, as scipy.ndimage takes a quarter of a second to import, and a prediction needs nothing else of it
    sigma = length * sigma_fraction
    distance = np.arange(length) - length // 2
    profile = np.exp(-0.5 / sigma**2 * distance**2)
    profile[np.abs(distance) > int(_CUT_SIGMAS * sigma + 0.5)] = 0
    return np.maximum(profile, profile[profile > 0].min())


def uniform_intensities(image: torch.Tensor, tile: Tile, tolerance: float) -> Intensities | None:
    """Return the intensity of each channel if it is the same everywhere in a tile, else None.

    A network gives the same answer to equal uniform tiles wherever they lie and however they are mirrored, so that one
    of them suffices. A padded tile is not uniform.

    Args:
        image: the volume (channel, z, y, x).
        tile: the tile.
        tolerance: how far intensities of a channel may lie apart; if more than 0, the answer is rounded.
    """
    part = image[(slice(None), *tile.volume)]
    corners = part[:, :: max(1, part.shape[1] - 1), :: max(1, part.shape[2] - 1), :: max(1, part.shape[3] - 1)]
    for voxels in (corners, part):  # the eight corners first: they rule out nearly every tile without reading all of it
        low, high = torch.aminmax(voxels.flatten(1), dim=1)
        if tile.padded or not bool((high - low <= tolerance).all()):
            return None
    values = low.tolist()
    return tuple(round(value, _EMPTY_DECIMALS) for value in values) if tolerance else tuple(values)
