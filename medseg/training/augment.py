"""What is done to the intensities of a training sample: parameters drawn at random, none of them applied yet.

Order and distributions of nnU-Net v2 (`nnUNetTrainer.get_training_transforms`, batchgeneratorsv2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.sections import Augmentation

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Changes:
    """Parameters of one sample, in the order in which they are applied; NaN where nothing is done.

    Attributes:
        noise_std: standard deviation of Gaussian noise, of all channels.
        noise_seed: of the noise.
        blur: (channel, axis) standard deviations in voxels.
        brightness: (channel,) factors.
        contrast: (channel,) factors of the spread around the mean.
        zoom: (channel,) resolutions, as a share of the full one, that details are lost at.
        gamma_inverted: (channel,) exponents, applied to the inverted image.
        gamma: (channel,) exponents.
    """

    noise_std: float
    noise_seed: int
    blur: Values
    brightness: Values
    contrast: Values
    zoom: Values
    gamma_inverted: Values
    gamma: Values


def draw_changes(random: np.random.Generator, settings: Augmentation, channels: int, dimensions: int) -> Changes:
    """The changes of one sample."""
    noisy, noise_std = random.random() < settings.noise_probability, _even(random, settings.noise_std)
    return Changes(
        noise_std=float(noise_std) if noisy else np.nan,
        noise_seed=int(random.integers(2**62)),
        blur=_some_channels(random, settings.blur_probability, settings.blur_sigma_voxels, (channels, dimensions)),
        brightness=_factors(random, settings.brightness_probability, settings.brightness_factor, channels),
        contrast=_factors(random, settings.contrast_probability, settings.contrast_factor, channels),
        zoom=_some_channels(random, settings.low_resolution_probability, settings.low_resolution_zoom, (channels,)),
        gamma_inverted=_factors(random, settings.gamma_inverted_probability, settings.gamma_range, channels),
        gamma=_factors(random, settings.gamma_probability, settings.gamma_range, channels),
    )


def _even(random: np.random.Generator, limits: Sequence[float], shape: tuple[int, ...] = ()) -> Values:
    """Numbers drawn evenly between two limits."""
    low, high = limits
    return low + (high - low) * random.random(shape)


def _some_channels(
    random: np.random.Generator, probability: float, limits: Sequence[float], shape: tuple[int, ...]
) -> Values:
    """Even numbers for each channel that is touched: half of them, where the sample is."""
    touched = (random.random() < probability) & (random.random(shape[0]) < 0.5)
    return np.where(touched.reshape(-1, *[1] * (len(shape) - 1)), _even(random, limits, shape), np.nan)


def _factors(random: np.random.Generator, probability: float, limits: Sequence[float], channels: int) -> Values:
    """A factor for every channel: below one and above one equally often, where the limits lie on both sides of one."""
    low, high = limits
    touched, above = random.random() < probability, random.random(channels) >= 0.5
    two_sided = low < 1 < high
    lower = np.where(above, 1.0, low) if two_sided else low
    upper = np.where(above, high, 1.0) if two_sided else high
    factors = random.uniform(lower, upper, channels)
    return factors if touched else np.full(channels, np.nan)
