"""Patches gathered and changed at random, as operations on a batch on whatever device it is on.

Order and distributions of nnU-Net v2 (`nnUNetTrainer.get_training_transforms`, batchgeneratorsv2). Every
random number of a sample comes from its own generator, so a sample does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from torch.nn import functional

from medseg.labels import IGNORE
from medseg.preprocessing.cache import Sample
from medseg.preprocessing.volume import OUTSIDE
from medseg.schema import Configuration
from medseg.sections import Augmentation
from medseg.training.sampling import Draw

_BLUR_SIGMAS = 3
_SMALLEST = 1e-7


def gather(
    sample: Sample, draw: Draw, patch_zyx: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """One patch: image (channel, z, y, x), linear; label (z, y, x), nearest; 0 and `OUTSIDE` beyond the volume.

    Where only some voxels are annotated, those beyond the volume are ignored: as background, as nnU-Net has them,
    they would outnumber the others.
    """
    if draw.matrix is None:
        image, label = _crop(
            sample, draw.start, [start + size for start, size in zip(draw.start, patch_zyx, strict=True)]
        )
        return image.to(device), label.to(device)
    half = (np.array(patch_zyx) - 1) / 2
    centre = np.array(draw.start) + half
    reach = np.abs(draw.matrix) @ half
    low = np.floor(centre - reach).astype(int)
    high = np.ceil(centre + reach).astype(int) + 1
    image, label = (part.to(device) for part in _crop(sample, low.tolist(), high.tolist()))
    offsets = [torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2 for size in patch_zyx]
    points = torch.stack(torch.meshgrid(*offsets, indexing="ij"), dim=-1)
    matrix = torch.from_numpy(draw.matrix).to(points)
    position = points @ matrix.T + torch.from_numpy(centre - low).to(points)
    # grid_sample wants (x, y, z), each from -1 to 1 over the outer faces of the volume
    extent = torch.tensor(label.shape, device=device)
    grid = ((2 * position + 1) / extent - 1).flip(-1)[None]
    sampled = functional.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    shifted = (label - OUTSIDE).to(torch.float32)[None, None]
    nearest = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return sampled[0], nearest[0, 0].to(torch.int16) + OUTSIDE


def _crop(sample: Sample, low: Sequence[int], high: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The box [low, high) of a volume, padded where it sticks out."""
    beyond = IGNORE if len(sample.annotated) else OUTSIDE
    inside, pad = [], []
    for start, stop, size in zip(low, high, sample.label.shape, strict=True):
        inside.append(slice(min(max(start, 0), size), max(min(stop, size), 0)))
        before = min(max(-start, 0), stop - start)
        kept = max(inside[-1].stop - inside[-1].start, 0)
        pad.append((before, stop - start - before - kept))
    edges = [amount for pair in reversed(pad) for amount in pair]
    image = sample.image[(slice(None), *inside)]
    label = sample.label[tuple(inside)]
    if not any(edges):
        return image, label
    return functional.pad(image, edges), functional.pad(label, edges, value=beyond)


def augment(
    image: torch.Tensor,
    label: torch.Tensor,
    settings: Augmentation,
    configuration: Configuration,
    random: Sequence[np.random.Generator],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change intensities and mirror a batch: image (batch, channel, ...), label (batch, ...), same order of axes.

    Args:
        random: one generator a sample.
    """
    image, label = image.clone(), label.clone()
    channels = image.shape[1]
    _noise(image, settings, random)
    _blur(image, settings, random)
    chosen, factors = _chosen(random, settings.brightness_probability, settings.brightness_factor, channels)
    if chosen:
        image[chosen] *= _shaped(factors, image)
    chosen, factors = _chosen(random, settings.contrast_probability, settings.contrast_factor, channels)
    if chosen:
        image[chosen] = _contrast(image[chosen], _shaped(factors, image))
    _low_resolution(image, settings, configuration.in_plane_only and image.ndim == 5, random)
    for probability, sign in ((settings.gamma_inverted_probability, -1), (settings.gamma_probability, 1)):
        chosen, factors = _chosen(random, probability, settings.gamma_range, channels)
        if chosen:
            image[chosen] = sign * _gamma(sign * image[chosen], _shaped(factors, image))
    return _mirror(image, label, configuration.mirror_axes, random)


def _chosen(
    random: Sequence[np.random.Generator], probability: float, limits: Sequence[float], channels: int
) -> tuple[list[int], list[list[float]]]:
    """Which samples a transform touches, and a factor for each of their channels.

    nnU-Net draws a factor below one and one above one equally often, where the limits lie on both sides of one.
    """
    chosen, factors = [], []
    for number, one in enumerate(random):
        if one.random() < probability:
            chosen.append(number)
            low, high = limits
            sides = [(low, 1.0), (1.0, high)] if low < 1 < high else [(low, high)] * 2
            factors.append([_within(one, sides[above]) for above in (one.random(channels) >= 0.5).astype(int)])
    return chosen, factors


def _within(random: np.random.Generator, limits: Sequence[float]) -> float:
    """A number drawn evenly between two limits."""
    low, high = limits
    return float(random.uniform(low, high))


def _shaped(factors: list[list[float]], image: torch.Tensor) -> torch.Tensor:
    """(chosen, channel) factors that broadcast over the voxels."""
    values = torch.tensor(factors, dtype=image.dtype, device=image.device)
    return values.reshape(*values.shape, *([1] * (image.ndim - 2)))


def _noise(image: torch.Tensor, settings: Augmentation, random: Sequence[np.random.Generator]) -> None:
    for number, one in enumerate(random):
        if one.random() < settings.noise_probability:
            std = _within(one, settings.noise_std)
            source = torch.Generator(image.device).manual_seed(int(one.integers(2**62)))
            image[number] += std * torch.randn(image[number].shape, generator=source, device=image.device)


def _blur(image: torch.Tensor, settings: Augmentation, random: Sequence[np.random.Generator]) -> None:
    dimensions = image.ndim - 2
    for number, one in enumerate(random):
        if one.random() >= settings.blur_probability:
            continue
        for channel in range(image.shape[1]):
            if one.random() < 0.5:
                sigmas = [_within(one, settings.blur_sigma_voxels) for _ in range(dimensions)]
                image[number, channel] = _gaussian(image[number, channel], sigmas)


def _gaussian(data: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Separable Gaussian blur of one channel, mirrored at the borders."""
    for axis, sigma in enumerate(sigmas):
        size, radius = data.shape[axis], ceil(_BLUR_SIGMAS * sigma)
        if size == 1 or radius == 0:
            continue
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        weights /= weights.sum()
        there_and_back = np.abs(np.arange(-radius, size + radius)) % (2 * size - 2)
        mirrored = np.minimum(there_and_back, 2 * size - 2 - there_and_back)
        padded = data.index_select(axis, torch.from_numpy(mirrored).to(data.device))
        data = torch.zeros_like(data)
        for offset, weight in enumerate(weights):
            data.add_(padded.narrow(axis, offset, size), alpha=float(weight))
    return data


def _low_resolution(
    image: torch.Tensor, settings: Augmentation, keep_first_axis: bool, random: Sequence[np.random.Generator]
) -> None:
    """Nearest down, linear up: detail is lost as in a coarser scan."""
    spatial = image.shape[2:]
    mode = "bilinear" if len(spatial) == 2 else "trilinear"
    for number, one in enumerate(random):
        if one.random() >= settings.low_resolution_probability:
            continue
        for channel in range(image.shape[1]):
            if one.random() < 0.5:
                zoom = _within(one, settings.low_resolution_zoom)
                coarse = [max(1, round(size * zoom)) for size in spatial]
                if keep_first_axis:
                    coarse[0] = spatial[0]
                small = functional.interpolate(image[number, channel][None, None], size=coarse, mode="nearest-exact")
                image[number, channel] = functional.interpolate(small, size=spatial, mode=mode)[0, 0]


def _contrast(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Spread around the mean of each channel, within its old range."""
    voxels = tuple(range(2, image.ndim))
    mean = image.mean(voxels, keepdim=True)
    low, high = image.amin(voxels, keepdim=True), image.amax(voxels, keepdim=True)
    return torch.minimum(torch.maximum((image - mean) * factor + mean, low), high)


def _gamma(image: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Power of the intensities within their range; mean and standard deviation of each channel stay."""
    voxels = tuple(range(2, image.ndim))
    std, mean = torch.std_mean(image, voxels, keepdim=True)
    low = image.amin(voxels, keepdim=True)
    span = image.amax(voxels, keepdim=True) - low
    changed = ((image - low) / span.clamp(min=_SMALLEST)).pow(gamma) * span + low
    new_std, new_mean = torch.std_mean(changed, voxels, keepdim=True)
    return (changed - new_mean) * (std / new_std.clamp(min=_SMALLEST)) + mean


def _mirror(
    image: torch.Tensor, label: torch.Tensor, axes: Sequence[int], random: Sequence[np.random.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    for number, one in enumerate(random):
        flipped = [axis for axis in axes if one.random() < 0.5]
        if flipped:
            image[number] = image[number].flip([axis + 1 for axis in flipped])
            label[number] = label[number].flip(flipped)
    return image, label
