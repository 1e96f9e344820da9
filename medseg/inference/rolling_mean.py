"""The weighted mean over overlapping tiles, held only for the planes that tiles still cover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from medseg.inference.tiles import Span, Tile, View
from medseg.networks.device import to_device

_BLOCK_BYTES = 64 << 20
"""Finished planes are handed on in blocks of about this size."""
_SINGLE_THREAD_VALUES = (1 << 15) - 1
"""Up to so many values torch uses a single thread (its grain size is 2^15). A second thread that has nothing left to do
keeps its core busy for a while, and OpenVINO's threads, which compute the next tiles, would wait for it."""
_SEVERAL_THREADS_VALUES = 1 << 20
_LARGE_TILE_VALUES = 1 << 22
"""For tiles with more values than this, several threads are faster all the same."""


class RollingMean:
    """Weighted sums (channel, z, y, x) of tiles that arrive in the order of their first planes.

    The sums are a ring buffer: plane z of the volume is stored in plane z modulo `depth`. The shares of all tiles add
    up to one at every voxel, so that the sums are the means.

    Args:
        channels: number of values that are averaged at each voxel.
        shape: the shape of the volume (z, y, x).
        depth: most planes that are unfinished at once.
        dtype: data type of the sums.
        device: where the sums are stored.
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
        self.first_unfinished = 0
        self._last_weight: tuple[Tile, torch.Tensor] | None = None
        self._shares: dict[Span, torch.Tensor] = {}

    def to(self, device: torch.device) -> None:
        """Move the sums to another device."""
        self.sums, self._last_weight, self._shares = self.sums.to(device), None, {}

    def add(self, view: View, values: torch.Tensor, share: float) -> None:
        """Add the values of a view, weighted by its tile's share in the mean.

        Args:
            view: the tile, and how it is mirrored.
            values: (channel, z, y, x) on the whole mirrored tile.
            share: further factor, such as 1 / number of folds and mirrored copies.

        Raises:
            ValueError: some of the tile's planes are finished already, or lie beyond the buffer.
        """
        tile = view.tile
        if tile.planes.start < self.first_unfinished or tile.planes.stop > self.first_unfinished + self.depth:
            raise ValueError(
                f"planes {tile.planes} are not among the {self.depth} planes from {self.first_unfinished} on"
            )
        weight = self._weight(tile)
        values = values.to(self.sums.device)
        if self.sums.device.type != "cpu":
            part = view.unmirror(values)  # all memory is taken before the first sum changes: it may be tried again
            for buffer, planes in self._buffer_planes(tile.planes, len(tile.planes)):
                where = (slice(None), buffer, *tile.volume[1:])
                self.sums[where].addcmul_(part[:, planes], weight[planes], value=share)
            return
        channels, depth = self._chunk(values)
        for buffer, planes in self._buffer_planes(tile.planes, depth):
            for start in range(0, len(values), channels):
                chunk = slice(start, start + channels)
                part = view.unmirror(values[chunk], planes)
                self.sums[(chunk, buffer, *tile.volume[1:])].addcmul_(part, weight[planes], value=share)

    def finish(self, before: int) -> Iterator[torch.Tensor]:
        """Yield the means (channel, planes, y, x) of the unfinished planes before plane `before`, block by block."""
        plane_bytes = self.sums[:, 0].numel() * self.sums.element_size()
        step = max(1, _BLOCK_BYTES // plane_bytes)
        while self.first_unfinished < before:
            planes = range(self.first_unfinished, min(self.first_unfinished + step, before))
            buffers = [buffer for buffer, _ in self._buffer_planes(planes, len(planes))]
            block = torch.cat([self.sums[:, buffer] for buffer in buffers], dim=1)
            for buffer in buffers if before < self.planes else ():  # the last planes are not written to again
                self.sums[:, buffer] = 0
            self.first_unfinished = planes.stop
            yield block

    def _chunk(self, values: torch.Tensor) -> tuple[int, int]:
        """Return how many channels and planes a CPU adds at once: few, which stay in its cache."""
        most = _SEVERAL_THREADS_VALUES if values.numel() > _LARGE_TILE_VALUES else _SINGLE_THREAD_VALUES
        depth = min(values.shape[1], max(1, most // values[0, 0].numel()))
        return max(1, most // values[0, :depth].numel()), depth

    def _buffer_planes(self, planes: range, most: int) -> Iterator[tuple[slice, slice]]:
        """Yield pieces of up to `most` planes: where they lie in the ring buffer, and which of `planes` they are."""
        start = 0
        while start < len(planes):
            buffer = (planes.start + start) % self.depth
            size = min(most, len(planes) - start, self.depth - buffer)
            yield slice(buffer, buffer + size), slice(start, start + size)
            start += size

    def _weight(self, tile: Tile) -> torch.Tensor:
        """Return the share (z, y, x) of a tile in the mean; kept for the tile's mirrored copies, which come next."""
        if self._last_weight is None or self._last_weight[0] is not tile:
            if self.sums.device.type == "cpu":  # numpy: torch's threads would disturb OpenVINO's
                depth, rows, columns = (span.share.numpy() for span in tile.spans)
                weight = torch.from_numpy(depth[:, None, None] * (rows[:, None] * columns))
            else:  # some hundred floats are sent once for each span, instead of some million for each tile
                z, y, x = (self._share(span) for span in tile.spans)
                weight = z[:, None, None] * (y[:, None] * x)
            self._last_weight = tile, weight
        return self._last_weight[1]

    def _share(self, span: Span) -> torch.Tensor:
        """Return the share of a span on the device of the sums."""
        if span not in self._shares:
            self._shares[span] = to_device(span.share, self.sums.device)
        return self._shares[span]
