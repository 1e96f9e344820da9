"""The mean over overlapping tiles, in memory for the planes that are not finished yet instead of for the volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from medseg.inference.tiles import Tile
from medseg.inference.views import View

_BLOCK_BYTES = 64 << 20
"""Finished planes are handed on in blocks of about this size."""
_ONE_THREAD = (1 << 15) - 1
"""Values up to which torch uses a single thread. A second one that has nothing left to do keeps its core busy for a
while, and OpenVINO's threads, which compute the next tiles, would wait for it."""
_MANY_THREADS = 1 << 20
_LARGE = 1 << 22
"""Values of a tile from which on several threads are worth it all the same."""


class RollingMean:
    """Weighted sums (channel, z, y, x) of tiles that arrive in the order of their first planes.

    Plane z of the volume lies in plane z modulo `depth` of the memory. The shares of all tiles add up to one at
    every voxel, so that the sums are the means.

    Args:
        channels: of what is averaged.
        shape: of the volume (z, y, x).
        depth: planes that are unfinished at once.
        dtype: that sums are kept in.
        device: where they are kept.
    """

    def __init__(
        self, channels: int, shape: Sequence[int], depth: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.planes, self.depth = shape[0], min(depth, shape[0])
        size = (channels, self.depth, *shape[1:])
        if device.type == "cpu":  # numpy's zeros take memory, and time, only where they are written to
            self.sums = torch.from_numpy(np.zeros(size, np.float16 if dtype == torch.float16 else np.float32))
        else:
            self.sums = torch.zeros(size, dtype=dtype, device=device)
        self.first = 0
        self._weighed: tuple[Tile, torch.Tensor] | None = None

    def to(self, device: torch.device) -> None:
        """Go on somewhere else."""
        self.sums, self._weighed = self.sums.to(device), None

    def add(self, view: View, values: torch.Tensor, share: float) -> None:
        """Add `share` times the values (channel, z, y, x) that a view's tile was given, as they lie in the view.

        Raises:
            ValueError: its planes are finished already, or too many are not.
        """
        tile = view.tile
        if tile.planes.start < self.first or tile.planes.stop > self.first + self.depth:
            raise ValueError(f"planes {tile.planes} do not lie in the {self.depth} from plane {self.first} on")
        weight = self._weight(tile)
        values = values.to(self.sums.device)
        channels, depth = self._at_once(values)
        for memory, planes in self._places(tile.planes, depth):
            for start in range(0, len(values), channels):
                some = slice(start, start + channels)
                part = view.turned_back(values[some], planes)
                self.sums[(some, memory, *tile.volume[1:])].addcmul_(part, weight[planes], value=share)

    def finish(self, before: int) -> Iterator[torch.Tensor]:
        """The means of all planes before this one that were not handed on yet, block by block."""
        plane = self.sums[:, 0].numel() * self.sums.element_size()
        step = max(1, _BLOCK_BYTES // plane)
        while self.first < before:
            planes = range(self.first, min(self.first + step, before))
            places = [memory for memory, _ in self._places(planes, len(planes))]
            block = torch.cat([self.sums[:, memory] for memory in places], dim=1)
            for memory in places if before < self.planes else ():
                self.sums[:, memory] = 0
            self.first = planes.stop
            yield block

    def _at_once(self, values: torch.Tensor) -> tuple[int, int]:
        """Channels and planes that are added in one go: on a CPU few, which stay in the cache."""
        if self.sums.device.type != "cpu":
            return values.shape[0], values.shape[1]
        most = _MANY_THREADS if values.numel() > _LARGE else _ONE_THREAD
        depth = min(values.shape[1], max(1, most // values[0, 0].numel()))
        return max(1, most // values[0, :depth].numel()), depth

    def _places(self, planes: range, most: int) -> Iterator[tuple[slice, slice]]:
        """Pieces of up to `most` planes: where they lie in the memory, and which of `planes` they are."""
        start = 0
        while start < len(planes):
            memory = (planes.start + start) % self.depth
            size = min(most, len(planes) - start, self.depth - memory)
            yield slice(memory, memory + size), slice(start, start + size)
            start += size

    def _weight(self, tile: Tile) -> torch.Tensor:
        """The share (z, y, x) of a tile in the mean, where it lies in the volume; its copies follow each other."""
        if self._weighed is None or self._weighed[0] is not tile:
            z, y, x = (span.share.numpy() for span in tile.spans)
            weight = torch.from_numpy(z[:, None, None] * (y[:, None] * x))
            self._weighed = tile, weight.to(self.sums.device)
        return self._weighed[1]
