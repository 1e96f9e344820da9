"""Changes of intensities, applied to a batch: each to the channels that it touches, all of them at once.

What is touched was drawn on the host, so nothing waits for a device to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.training.data.augment import Changes
from medseg.training.data.axis_filters import along_axes, blur, low_resolution
from medseg.training.data.transfer import send

_SMALLEST = 1e-7


class Job(NamedTuple):
    """A change: of which rows (sample x channel) of a batch, and with which arrays, each with an entry a row."""

    change: Callable[..., torch.Tensor]
    rows: NDArray[np.int64]
    values: Sequence[NDArray[np.float32]]


def apply_changes(
    image: torch.Tensor,
    changes: Changes,
    mirrored: Sequence[Sequence[bool]] | None = None,
    keep_first_axis: bool = False,
) -> None:
    """Change a batch (batch, channel, ...) in place.

    Args:
        changes: of the batch.
        mirrored: the axes along which each sample was turned round already, as nnU-Net does last of all.
        keep_first_axis: slices keep their resolution across.
    """
    spatial = image.shape[2:]
    mirrored = mirrored or [[False] * len(spatial)] * len(image)
    flat = image.view(-1, *spatial)
    _add_noise(image, changes)
    run = one_by_one if image.device.type == "cpu" else all_at_once
    run(flat, make_jobs(changes, spatial, mirrored, keep_first_axis))


def make_jobs(
    changes: Changes, spatial: Sequence[int], mirrored: Sequence[Sequence[bool]], keep_first_axis: bool
) -> list[Job]:
    """What is to be done, in nnU-Net's order, all but the noise."""
    jobs = [
        _blur(changes, spatial),
        _by_factor(_brightness, changes.brightness),
        _by_factor(_contrast, changes.contrast),
        _low_resolution(changes, spatial, mirrored, keep_first_axis),
        _by_factor(partial(_gamma, sign=-1), changes.gamma_inverted),
        _by_factor(partial(_gamma, sign=1), changes.gamma),
    ]
    return [job for job in jobs if len(job.rows)]


def all_at_once(flat: torch.Tensor, jobs: Sequence[Job]) -> None:
    """Every change as few operations: for devices on which each costs a start."""
    arrays: list[NDArray] = []
    for job in jobs:
        arrays += [job.rows, *job.values]
    sent = iter(send(arrays, flat.device))
    for job in jobs:
        rows, *values = (next(sent) for _ in range(1 + len(job.values)))
        flat.index_copy_(0, rows, job.change(flat.index_select(0, rows), *values))


def one_by_one(flat: torch.Tensor, jobs: Sequence[Job]) -> None:
    """Row after row, in place: a patch stays in the processor's cache."""
    for job in jobs:
        for number, row in enumerate(job.rows.tolist()):
            part = flat[row : row + 1]
            values = (torch.from_numpy(value[number : number + 1]) for value in job.values)
            changed = job.change(part, *values)
            if changed.data_ptr() != part.data_ptr():
                part.copy_(changed)


def _add_noise(image: torch.Tensor, changes: Changes) -> None:
    """From a generator for each sample, so that noise does not depend on the rest of the batch."""
    for number in np.flatnonzero(~np.isnan(changes.noise_std)).tolist():
        source = torch.Generator(image.device).manual_seed(int(changes.noise_seed[number]))
        noise = torch.randn(image.shape[1:], generator=source, device=image.device)
        image[number].add_(noise, alpha=float(changes.noise_std[number]))


def _blur(changes: Changes, spatial: Sequence[int]) -> Job:
    sigmas = changes.blur.reshape(-1, len(spatial))
    rows = np.flatnonzero(~np.isnan(sigmas[:, 0]))
    matrices = [
        np.array([blur(size, sigmas[row, axis]) for row in rows], np.float32) for axis, size in enumerate(spatial)
    ]
    return Job(along_axes, rows, matrices)


def _low_resolution(
    changes: Changes, spatial: Sequence[int], mirrored: Sequence[Sequence[bool]], keep_first_axis: bool
) -> Job:
    zooms, channels = changes.zoom.ravel(), changes.zoom.shape[1]
    rows = np.flatnonzero(~np.isnan(zooms))
    matrices = [
        np.array(
            [
                low_resolution(
                    size,
                    1.0 if keep_first_axis and axis == 0 else zooms[row],
                    mirrored[row // channels][axis],
                )
                for row in rows
            ],
            np.float32,
        )
        for axis, size in enumerate(spatial)
    ]
    return Job(along_axes, rows, matrices)


def _by_factor(change: Callable[..., torch.Tensor], factors: NDArray[np.float64]) -> Job:
    """A change with one number for each channel."""
    flat = factors.ravel()
    rows = np.flatnonzero(~np.isnan(flat))
    return Job(change, rows, [flat[rows].astype(np.float32)])


def _shaped(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """A number for each row that broadcasts over its voxels."""
    return values.view(-1, *[1] * (image.ndim - 1))


def _brightness(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return image.mul_(_shaped(factor, image))


def _contrast(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Spread around the mean, within the old range."""
    flat, factor = image.flatten(1), factor[:, None]
    mean, low, high = flat.mean(1, keepdim=True), flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return flat.sub_(mean).mul_(factor).add_(mean).clamp_(low, high).view_as(image)


def _gamma(image: torch.Tensor, gamma: torch.Tensor, sign: int) -> torch.Tensor:
    """Power of the intensities within their range; mean and standard deviation stay."""
    flat = image.flatten(1)
    lowest, highest = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    start, span = (lowest if sign > 0 else highest), (highest - lowest).clamp_(min=_SMALLEST) * sign
    mean, spread = _moments(flat)
    changed = flat.sub_(start).div_(span).log_().mul_(gamma[:, None]).exp_()  # a fifth of the time of pow
    new_mean, new_spread = _moments(changed)
    scale = sign * spread / new_spread.clamp(min=_SMALLEST)
    return changed.sub_(new_mean).mul_(scale).add_(mean).view_as(image)


def _moments(flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of each row, and the root of its summed squared differences from it."""
    mean = flat.mean(1, keepdim=True)
    return mean, torch.linalg.vector_norm(flat - mean, dim=1, keepdim=True)
