"""A few figures on the content of a case, by which checks recognize cases unlike the others or unlike a model's.

They are taken in the one pass over the files, and cost little beside reading them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.io.formats import gz
from medseg.planning.contrast import roughness
from medseg.planning.intensity import ChannelSample
from medseg.planning.sampled import count_values, step_between

_SAMPLED_VOXELS = 4096
"""Voxels of a channel that quantiles and shares are taken from: their error is below a percent, and sorting is fast."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PATTERN_VOXELS = 1 << 15
"""Voxels that a pattern of values is taken from: more, as a structure may have few of them."""
_FEWEST_NEIGHBOURS = 16
"""Fewer voxels beside the background say nothing about what lies beside what."""
_LEAST_FLAT_SHARE = 0.02
"""A value is taken for air or padding if at least this share of the voxels has it: no tissue has one exact value."""


@dataclass(frozen=True)
class ValuePattern:
    """The spatial pattern of a channel's values: a label map has few values, in areas of one value.

    Attributes:
        values: number of different values among about 32,000 voxels, evenly spread.
        equal_neighbours: share of these voxels whose next voxel has the same value, without the voxels of the most
            frequent value (background); 1 where hardly any voxel has another value.
        whole: whether all of them are whole numbers.
    """

    values: int
    equal_neighbours: float
    whole: bool


@dataclass(frozen=True)
class ChannelContent:
    """Figures on one channel of one case; quantiles and shares are those of about 4,000 voxels, evenly spread.

    Attributes:
        low: smallest value of all voxels.
        high: largest value of all voxels.
        mean: mean of all voxels.
        quantiles: the 5, 25, 50, 75 and 95 % quantiles.
        flat: the most frequent value, which air or padding has; None if no value stands out.
        share_high: share of the voxels that have the largest value.
        share_negative: share of the voxels below zero.
        foreground_rank: share of the voxels that are darker than the median of the foreground; None without foreground.
        pattern: how its values lie beside each other.
        modality: the modality of its DICOM series; empty if its file states none.
        roughness: whether bright areas are rougher than dark ones (`planning.contrast`); None if nothing says it.
    """

    low: float
    high: float
    mean: float
    quantiles: tuple[float, ...]
    flat: float | None
    share_high: float
    share_negative: float
    foreground_rank: float | None
    pattern: ValuePattern
    modality: str = ""
    roughness: float | None = None

    @property
    def constant(self) -> bool:
        """Whether every voxel has the same value."""
        return self.low == self.high

    @property
    def spread(self) -> float:
        """Distance of the 5 % and the 95 % quantile; of the smallest and the largest value if that is zero."""
        return (self.quantiles[-1] - self.quantiles[0]) or (self.high - self.low)


@dataclass(frozen=True)
class CaseContent:
    """Figures on one case.

    Attributes:
        channels: figures on each channel of the image.
        foreground_share: share of the voxels that are foreground (a structure).
        border_share: share of the voxels on the faces of the grid that are foreground.
        foreground_checksum: CRC-32 of the foreground mask, equal for equal masks.
        outside_share: share of the foreground where every channel has its flat value, that is, in air or padding.
        axes: where the stored axes x, y and z run to, such as RAS; empty if that is unknown.
    """

    channels: tuple[ChannelContent, ...]
    foreground_share: float
    border_share: float
    foreground_checksum: int
    outside_share: float
    axes: str


def case_content(
    image: NDArray,
    foreground: NDArray[np.bool_],
    values: Sequence[NDArray],
    samples: Sequence[ChannelSample],
    axes: str,
    modalities: Sequence[str] = (),
) -> CaseContent:
    """Return figures on what a case holds.

    Args:
        image: (channel, z, y, x).
        foreground: (z, y, x) mask of the voxels that are a structure.
        values: intensities of each channel in the foreground.
        samples: summary of these values for each channel; empty without foreground.
        axes: see `CaseContent`.
        modalities: of each channel, as `ChannelContent.modality`; none if no file states one.
    """
    medians = [sample.sorted_values[len(sample.sorted_values) // 2] for sample in samples] or [None] * len(image)
    of_channels = zip(image, medians, modalities or [""] * len(image), strict=True)
    channels = tuple(_channel_content(*of_channel) for of_channel in of_channels)
    return CaseContent(
        channels=channels,
        foreground_share=values[0].size / image[0].size,
        border_share=_border_share(foreground),
        foreground_checksum=int(gz.engine.crc32(np.ascontiguousarray(foreground))),
        outside_share=_outside_share(channels, values),
        axes=axes,
    )


def _channel_content(channel: NDArray, foreground_median: np.number | None, modality: str) -> ChannelContent:
    """Return figures on one channel (z, y, x)."""
    ordered = np.sort(_evenly_sampled(channel))
    count = len(ordered)
    # runs of equal values in sorted order: the longest one is the most frequent value
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    bounds = np.concatenate([[0], starts, [count]])
    lengths = np.diff(bounds)
    longest = int(lengths.argmax())
    high = channel.max()
    rank = None
    if foreground_median is not None:  # the middle of the ranks that equal values share
        low_rank, high_rank = (np.searchsorted(ordered, foreground_median, side) for side in ("left", "right"))
        rank = float(low_rank + high_rank) / 2 / count
    return ChannelContent(
        low=float(channel.min()),
        high=float(high),
        mean=float(channel.mean(dtype=np.float64)),
        quantiles=tuple(float(ordered[int(share * (count - 1))]) for share in _QUANTILES),
        flat=float(ordered[bounds[longest]]) if lengths[longest] >= _LEAST_FLAT_SHARE * count else None,
        share_high=float(count - np.searchsorted(ordered, high)) / count,
        share_negative=float(np.searchsorted(ordered, 0)) / count,
        foreground_rank=rank,
        pattern=value_pattern(channel),
        modality=modality,
        roughness=roughness(channel),
    )


def value_pattern(channel: NDArray) -> ValuePattern:
    """Return the spatial pattern of the values of a channel (z, y, x).

    >>> value_pattern(np.repeat([0, 1, 0, 2], 100).reshape(1, 4, 100))
    ValuePattern(values=3, equal_neighbours=0.995, whole=True)
    """
    flat = channel.reshape(-1)
    step = step_between(flat.size, _PATTERN_VOXELS)
    here = flat[::step]
    values, counts = count_values(here)
    beside = flat[1::step]
    here = here[: len(beside)]
    pairs = here != values[counts.argmax()]
    compared, equal = int(np.count_nonzero(pairs)), int(np.count_nonzero(pairs & (here == beside)))
    return ValuePattern(
        values=len(values),
        equal_neighbours=round(equal / compared, 4) if compared >= _FEWEST_NEIGHBOURS else 1.0,
        whole=bool((values == np.round(values)).all()),
    )


def channel_quantiles(channel: NDArray) -> tuple[float, ...]:
    """Return the 5, 25, 50, 75 and 95 % quantiles of about 4,000 voxels of a channel (z, y, x), evenly spread."""
    ordered = np.sort(_evenly_sampled(channel))
    return tuple(float(ordered[int(share * (len(ordered) - 1))]) for share in _QUANTILES)


def _evenly_sampled(channel: NDArray) -> NDArray:
    """Return about 4,000 voxels, or all if there are fewer."""
    return channel.reshape(-1)[:: step_between(channel.size, _SAMPLED_VOXELS)]


def _border_share(foreground: NDArray[np.bool_]) -> float:
    """Return the share of foreground in the first and last slice along every axis that has several."""
    faces = [foreground.take(end, axis) for axis, size in enumerate(foreground.shape) if size > 1 for end in (0, -1)]
    size = sum(face.size for face in faces)
    return sum(int(np.count_nonzero(face)) for face in faces) / size if size else 0.0


def _outside_share(channels: Sequence[ChannelContent], values: Sequence[NDArray]) -> float:
    """Return the share of the foreground where every channel has its flat value."""
    if not values[0].size or any(channel.flat is None for channel in channels):
        return 0.0
    empty = np.ones(values[0].size, bool)
    for channel, inside in zip(channels, values, strict=True):
        empty &= inside == channel.flat
    return float(empty.mean())
