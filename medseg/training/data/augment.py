"""Draws the random changes of a batch's intensities; `intensity` applies them.

Order and distributions are those of nnU-Net v2 (`nnUNetTrainer.get_training_transforms`, batchgeneratorsv2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from medseg.plans.sections.augmentation import Augmentation

Values = NDArray[np.float64]

_NUMBERS, _CHANNEL_NUMBERS = 9, 11
"""Random numbers that a sample needs, and that each of its channels needs (one more for each axis to blur along)."""
_SEEDS = 2**53
"""Integers up to here are exact in float64."""


@dataclass(frozen=True)
class Changes:
    """The parameters of a batch's changes, in the order in which they are applied; NaN where nothing is done.

    Attributes:
        noise_std: (batch,) standard deviations of Gaussian noise, the same for all channels.
        noise_seed: (batch,) seeds of the noise.
        blur: (batch, channel, axis) standard deviations in voxels.
        brightness: (batch, channel) factors.
        contrast: (batch, channel) factors of the spread around the mean.
        zoom: (batch, channel) lower resolutions, as a share of the full one.
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
    """Draw the changes of a batch.

    Args:
        random: a generator for each sample, which alone decides about it. Each gives one row of numbers, so that
            everything else is computed for the whole batch at once.
        settings: probabilities and ranges of the plan.
        channels: the number of channels of a sample.
        dimensions: 2 or 3.

    Returns:
        The parameters of the changes, one row for each sample.
    """
    count = _NUMBERS + channels * (_CHANNEL_NUMBERS + dimensions)
    numbers = iter(np.stack([generator.random(count) for generator in random]).T)

    def take(*shape: int) -> Values:
        """Return (batch, *shape) uniform numbers from 0 to 1 that were not used before."""
        return np.stack([next(numbers) for _ in range(prod(shape))], axis=1).reshape(-1, *shape)

    return Changes(
        noise_std=_with_probability(take(), settings.noise_probability, _scaled(take(), settings.noise_std)),
        noise_seed=(take() * _SEEDS).astype(np.int64),
        blur=_some_channels(take, settings.blur_probability, settings.blur_sigma_voxels, (channels, dimensions)),
        brightness=_factors(take, settings.brightness_probability, settings.brightness_factor, channels),
        contrast=_factors(take, settings.contrast_probability, settings.contrast_factor, channels),
        zoom=_some_channels(take, settings.low_resolution_probability, settings.low_resolution_zoom, (channels,)),
        gamma_inverted=_factors(take, settings.gamma_inverted_probability, settings.gamma_range, channels),
        gamma=_factors(take, settings.gamma_probability, settings.gamma_range, channels),
    )


def _scaled(numbers: Values, limits: Sequence[float]) -> Values:
    """Scale numbers from 0 to 1 to the range between two limits."""
    low, high = limits
    return low + (high - low) * numbers


def _with_probability(chance: Values, probability: float, values: Values) -> Values:
    """Return the values of the samples whose `chance` (batch,) is below the probability, NaN for the others."""
    return np.where((chance < probability).reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)


def _some_channels(
    take: Callable[..., Values], probability: float, limits: Sequence[float], shape: tuple[int, ...]
) -> Values:
    """Draw uniform numbers for half of the channels of some samples; NaN for channels that are not changed.

    Args:
        take: draws numbers from 0 to 1 of the given shape, for each sample of the batch.
        probability: the probability that a sample is changed.
        limits: the smallest and the largest number.
        shape: of the numbers of a sample, (channel, ...).

    Returns:
        (batch, *shape).
    """
    values = _with_probability(take(), probability, _scaled(take(*shape), limits))
    return np.where((take(shape[0]) < 0.5).reshape(-1, shape[0], *[1] * (len(shape) - 1)), values, np.nan)


def _factors(take: Callable[..., Values], probability: float, limits: Sequence[float], channels: int) -> Values:
    """Draw a factor for every channel, above and below 1 equally often if the limits include 1; NaN where unchanged."""
    low, high = limits
    chance, above, numbers = take(), take(channels) >= 0.5, take(channels)
    sides = np.where(above, _scaled(numbers, (1.0, high)), _scaled(numbers, (low, 1.0)))
    return _with_probability(chance, probability, sides if low < 1 < high else _scaled(numbers, limits))
