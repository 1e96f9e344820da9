"""What a case holds, in a few figures: enough to see that it differs from the others, cheap beside reading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from medseg.io.formats import gz
from medseg.planning.intensity import ChannelSample

_PICKED = 4096
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
_FLAT_SHARE = 0.02


@dataclass(frozen=True)
class ChannelContent:
    """One channel of one case; quantiles and shares are those of about 4,000 voxels, evenly spread.

    Attributes:
        low, high, mean: of all voxels.
        quantiles: 5, 25, 50, 75 and 95 %.
        flat: the value that air or padding has, the most frequent one; None if no value stands out.
        share_high: share of the voxels that have the highest value.
        share_negative: share of the voxels below zero.
        foreground_rank: share of the voxels that are darker than the median of the structures; None without any.
    """

    low: float
    high: float
    mean: float
    quantiles: tuple[float, ...]
    flat: float | None
    share_high: float
    share_negative: float
    foreground_rank: float | None

    @property
    def constant(self) -> bool:
        """Whether every voxel has one value."""
        return self.low == self.high

    @property
    def spread(self) -> float:
        """From the 5 % to the 95 % quantile, or over everything where these two are one."""
        return (self.quantiles[-1] - self.quantiles[0]) or (self.high - self.low)


@dataclass(frozen=True)
class CaseContent:
    """One case.

    Attributes:
        channels: of the image.
        foreground_share: of the voxels.
        border_share: of the voxels on the faces of the grid, how many are foreground.
        foreground_checksum: of where the foreground is.
        outside_share: share of the foreground where every channel is at its flat value.
        axes: where the stored axes x, y and z run to, such as RAS; empty where this is unknown.
    """

    channels: tuple[ChannelContent, ...]
    foreground_share: float
    border_share: float
    foreground_checksum: int
    outside_share: float
    axes: str


def look_at(
    image: NDArray, marked: NDArray[np.bool_], values: Sequence[NDArray], samples: Sequence[ChannelSample], axes: str
) -> CaseContent:
    """Figures of a case.

    Args:
        image: (channel, z, y, x).
        marked: (z, y, x) where the foreground is.
        values: of each channel there.
        samples: of these values; none without foreground.
        axes: see `CaseContent`.
    """
    middles = [sample.sorted_values[len(sample.sorted_values) // 2] for sample in samples] or [None] * len(image)
    channels = tuple(_look_at_channel(channel, middle) for channel, middle in zip(image, middles, strict=True))
    return CaseContent(
        channels=channels,
        foreground_share=values[0].size / image[0].size,
        border_share=_border_share(marked),
        foreground_checksum=int(gz.engine.crc32(np.ascontiguousarray(marked))),
        outside_share=_outside_share(channels, values),
        axes=axes,
    )


def _look_at_channel(channel: NDArray, middle: np.number | None) -> ChannelContent:
    """Figures of a channel; `middle` is the median of its foreground."""
    picked = np.sort(_thinned(channel))
    count = len(picked)
    starts = np.flatnonzero(picked[1:] != picked[:-1]) + 1
    bounds = np.concatenate([[0], starts, [count]])
    lengths = np.diff(bounds)
    longest = int(lengths.argmax())
    high = channel.max()
    rank = None
    if middle is not None:
        rank = float(np.searchsorted(picked, middle) + np.searchsorted(picked, middle, "right")) / 2 / count
    return ChannelContent(
        low=float(channel.min()),
        high=float(high),
        mean=float(channel.mean(dtype=np.float64)),
        quantiles=tuple(float(picked[int(share * (count - 1))]) for share in _SHARES),
        flat=float(picked[bounds[longest]]) if lengths[longest] >= _FLAT_SHARE * count else None,
        share_high=float(count - np.searchsorted(picked, high)) / count,
        share_negative=float(np.searchsorted(picked, 0)) / count,
        foreground_rank=rank,
    )


def _thinned(channel: NDArray) -> NDArray:
    """About 4,000 voxels or all of fewer, in steps that do not run in time with rows or slices."""
    step = max(1, channel.size // _PICKED)
    while gcd(step, channel.size) > 1 and step > 1:
        step += 1
    return channel.reshape(-1)[::step]


def _border_share(marked: NDArray[np.bool_]) -> float:
    """Over the first and last slice along every axis that has several."""
    faces = [marked.take(end, axis) for axis, size in enumerate(marked.shape) if size > 1 for end in (0, -1)]
    size = sum(face.size for face in faces)
    return sum(int(np.count_nonzero(face)) for face in faces) / size if size else 0.0


def _outside_share(channels: Sequence[ChannelContent], values: Sequence[NDArray]) -> float:
    if not values[0].size or any(channel.flat is None for channel in channels):
        return 0.0
    empty = np.ones(values[0].size, bool)
    for channel, inside in zip(channels, values, strict=True):
        empty &= inside == channel.flat
    return float(empty.mean())
