"""What the networks are shown of a volume: each tile, in each of its mirrored copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from medseg.inference.tiles import Tile, grid_of_tiles
from medseg.plans.schema import Configuration
from medseg.plans.sections import Inference

_EMPTY = 1e-3
"""A tile in which no channel varies by more is empty for `inference.skip_empty_tiles`."""
_EMPTY_DECIMALS = 2

Key = tuple[float, ...]


@dataclass(frozen=True)
class View:
    """A tile, mirrored along some dimensions of a (channel, z, y, x) tensor."""

    tile: Tile
    flip: tuple[int, ...]

    def cut(self, image: torch.Tensor, out: torch.Tensor) -> None:
        """Copy its part of a volume into `out` (channel, z, y, x); what lies outside of the volume is zero."""
        part, place = image[(slice(None), *self.tile.volume)], self._inside(out.shape[1:], self.tile.inside)
        if part.device.type == "cpu":  # by numpy, which reads backwards and leaves the other cores alone
            if self.tile.padded:
                out.numpy()[:] = 0
            out.numpy()[place] = np.flip(part.numpy(), self.flip)
        else:
            if self.tile.padded:
                out.zero_()
            out[place] = part.flip(self.flip)

    def turned_back(self, values: torch.Tensor, planes: slice | None = None) -> torch.Tensor:
        """Values of the view (channel, z, y, x), on the whole tile, as they lie in the volume, without what is outside.

        Args:
            planes: which of the planes that the tile covers; None for all.
        """
        z, y, x = self.tile.inside
        if planes is not None:
            z = slice(z.start + planes.start, z.start + planes.stop)
        part = values[self._inside(values.shape[1:], (z, y, x))]
        return part.flip(self.flip) if self.flip else part

    def _inside(self, shape: Sequence[int], place: Sequence[slice]) -> tuple[slice, ...]:
        """A place in the tile, as it lies in the view, with all channels."""
        mirrored = (
            slice(size - part.stop, size - part.start) if axis in self.flip else part
            for axis, (part, size) in enumerate(zip(place, shape, strict=True), start=1)
        )
        return (slice(None), *mirrored)


@dataclass(frozen=True)
class Views:
    """Every view of a volume, in the order in which they are looked at.

    Attributes:
        tiles: those of the first planes first.
        flips: dimensions to mirror; none comes first.
        shape: of a tile as the networks take it: (y, x) or (z, y, x).
    """

    tiles: tuple[Tile, ...]
    flips: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, volume: Sequence[int], configuration: Configuration, inference: Inference) -> Views:
        """Of a volume (z, y, x): overlapping tiles, and all combinations of the configuration's mirror axes."""
        tiles = grid_of_tiles(
            volume, configuration.patch_zyx, inference.step_fraction, inference.gaussian_sigma_fraction
        )
        axes = [4 - configuration.dimensions + axis for axis in configuration.mirror_axes if inference.mirror]
        flips = tuple(chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count))
        return cls(tuple(tiles), flips, tuple(configuration.patch_voxels))

    def __len__(self) -> int:
        return len(self.tiles) * len(self.flips)

    def part(self, start: int, count: int) -> list[View]:
        """`count` views, or as many as are left, from view `start` on; the copies of a tile follow each other."""
        each = len(self.flips)
        return [
            View(self.tiles[number // each], self.flips[number % each])
            for number in range(start, min(start + count, len(self)))
        ]

    def cut(self, image: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
        """Views of a volume (channel, z, y, x) as a batch for the networks."""
        tile = (1,) * (3 - len(self.shape)) + self.shape
        batch = torch.empty((len(views), len(image), *tile), device=image.device)
        for view, out in zip(views, batch, strict=True):
            view.cut(image, out)
        return batch.reshape(len(views), len(image), *self.shape)

    def depth(self, count: int) -> int:
        """The most planes that `count` views in a row span."""
        deepest = 0
        for start in range(0, len(self), count):
            last = min(start + count, len(self)) - 1
            first_tile, last_tile = self.tiles[start // len(self.flips)], self.tiles[last // len(self.flips)]
            deepest = max(deepest, last_tile.planes.stop - first_tile.planes.start)
        return deepest


def tolerance(inference: Inference) -> float:
    """How far intensities of a channel may lie apart in a tile that is answered as another one was."""
    return _EMPTY if inference.skip_empty_tiles else 0.0


def even(image: torch.Tensor, tile: Tile, most: float) -> Key | None:
    """The intensity of each channel of a tile that is the same all over, or None.

    A network answers such a tile in the same way wherever it lies, and in all its mirrored copies.

    Args:
        image: (channel, z, y, x).
        most: how far intensities of a channel may lie apart; if at all, the answer is rounded.
    """
    part = image[(slice(None), *tile.volume)]
    corners = part[:, :: max(1, part.shape[1] - 1), :: max(1, part.shape[2] - 1), :: max(1, part.shape[3] - 1)]
    for voxels in (corners, part):
        low, high = torch.aminmax(voxels.flatten(1), dim=1)
        if tile.padded or not bool((high - low <= most).all()):
            return None
    values = low.tolist()
    return tuple(round(value, _EMPTY_DECIMALS) for value in values) if most else tuple(values)
