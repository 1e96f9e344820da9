"""What is done to the intensities of a training batch: parameters drawn at random, none of them applied yet.

Order and distributions of nnU-Net v2 (`nnUNetTrainer.get_training_transforms`, batchgeneratorsv2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from medseg.plans.sections import Augmentation

Values = NDArray[np.float64]

_NUMBERS, _CHANNEL_NUMBERS = 9, 11
"""How many random numbers a sample needs, and each channel of it (and one more for each axis, to blur along)."""
_SEEDS = 2**53


@dataclass(frozen=True)
class Changes:
    """Parameters of a batch, in the order in which they are applied; NaN where nothing is done.

    Attributes:
        noise_std: (batch,) standard deviations of Gaussian noise, of all channels.
        noise_seed: (batch,) of the noise.
        blur: (batch, channel, axis) standard deviations in voxels.
        brightness: (batch, channel) factors.
        contrast: (batch, channel) factors of the spread around the mean.
        zoom: (batch, channel) resolutions, as a share of the full one, that details are lost at.
        gamma_inverted: (batch, channel) exponents, applied to the inverted image.
        gamma: (batch, channel) exponents.
    """

    noise_std: Values
    noise_seed: NDArray[np.int64]
    blur: Values
    brightness: Values
    contrast: Values
    zoom: Values
    gamma_inverted: Values
    gamma: Values


def draw_changes(
    random: Sequence[np.random.Generator], settings: Augmentation, channels: int, dimensions: int
) -> Changes:
    """The changes of a batch.

    Args:
        random: a generator for each sample, which alone decides about it. Each gives one row of numbers, so that what
            they mean can be worked out for the whole batch.
    """
    rows = iter(np.stack([one.random(_NUMBERS + channels * (_CHANNEL_NUMBERS + dimensions)) for one in random]).T)

    def take(*shape: int) -> Values:
        """(batch, *shape) even numbers from 0 to 1 that nothing else is made of."""
        return np.stack([next(rows) for _ in range(prod(shape))], axis=1).reshape(-1, *shape)

    return Changes(
        noise_std=_touch(take(), settings.noise_probability, _even(take(), settings.noise_std)),
        noise_seed=(take() * _SEEDS).astype(np.int64),
        blur=_some_channels(take, settings.blur_probability, settings.blur_sigma_voxels, (channels, dimensions)),
        brightness=_factors(take, settings.brightness_probability, settings.brightness_factor, channels),
        contrast=_factors(take, settings.contrast_probability, settings.contrast_factor, channels),
        zoom=_some_channels(take, settings.low_resolution_probability, settings.low_resolution_zoom, (channels,)),
        gamma_inverted=_factors(take, settings.gamma_inverted_probability, settings.gamma_range, channels),
        gamma=_factors(take, settings.gamma_probability, settings.gamma_range, channels),
    )


def _even(numbers: Values, limits: Sequence[float]) -> Values:
    """Numbers from 0 to 1 as numbers between two limits."""
    low, high = limits
    return low + (high - low) * numbers


def _touch(chance: Values, probability: float, values: Values) -> Values:
    """The values of the samples that are touched, of which `chance` (batch,) decides."""
    return np.where((chance < probability).reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)


def _some_channels(
    take: Callable[..., Values], probability: float, limits: Sequence[float], shape: tuple[int, ...]
) -> Values:
    """Even numbers for each channel that is touched: half of them, where the sample is."""
    values = _touch(take(), probability, _even(take(*shape), limits))
    return np.where((take(shape[0]) < 0.5).reshape(-1, shape[0], *[1] * (len(shape) - 1)), values, np.nan)


def _factors(take: Callable[..., Values], probability: float, limits: Sequence[float], channels: int) -> Values:
    """A factor for every channel: below one and above one equally often, where the limits lie on both sides of one."""
    low, high = limits
    chance, above, place = take(), take(channels) >= 0.5, take(channels)
    sides = np.where(above, _even(place, (1.0, high)), _even(place, (low, 1.0)))
    return _touch(chance, probability, sides if low < 1 < high else _even(place, limits))
