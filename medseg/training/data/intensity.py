"""Applies the changes of intensities that `augment` has drawn to a batch.

Which channels are changed was drawn on the host, so that nothing waits for the device to find out.
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
"""Ranges and deviations below this are taken as this: constant images stay what they are."""


class RowChange(NamedTuple):
    """A change of some rows of a batch; a row is one channel of one sample.

    Attributes:
        change: maps (rows, ...) images and one tensor for each of `values` to the changed images.
        rows: the rows that are changed: sample * channels + channel.
        values: parameters, each with an entry for each row.
    """

    change: Callable[..., torch.Tensor]
    rows: NDArray[np.int64]
    values: Sequence[NDArray[np.float32]]


def apply_changes(
    image: torch.Tensor,
    changes: Changes,
    mirrored: Sequence[Sequence[bool]] | None = None,
    keep_first_axis: bool = False,
) -> None:
    """Change the intensities of a batch in place.

    Args:
        image: (batch, channel, ...) float32.
        changes: the changes of the batch.
        mirrored: for each sample the axes that were reversed already, which nnU-Net does last of all.
        keep_first_axis: slices keep their resolution across.
    """
    spatial = image.shape[2:]
    mirrored = mirrored or [[False] * len(spatial)] * len(image)
    flat = image.view(-1, *spatial)
    _add_noise(image, changes)
    apply = apply_row_by_row if image.device.type == "cpu" else apply_at_once
    apply(flat, row_changes(changes, spatial, mirrored, keep_first_axis))


def row_changes(
    changes: Changes, spatial: Sequence[int], mirrored: Sequence[Sequence[bool]], keep_first_axis: bool
) -> list[RowChange]:
    """Return the changes to make, in nnU-Net's order; all but the noise.

    Args:
        changes: the changes of the batch.
        spatial: shape of an image.
        mirrored: for each sample the axes that were reversed already.
        keep_first_axis: slices keep their resolution across.
    """
    ordered = [
        _blur(changes, spatial),
        _by_factor(_brightness, changes.brightness),
        _by_factor(_contrast, changes.contrast),
        _low_resolution(changes, spatial, mirrored, keep_first_axis),
        _by_factor(partial(_gamma, sign=-1), changes.gamma_inverted),
        _by_factor(partial(_gamma, sign=1), changes.gamma),
    ]
    return [step for step in ordered if len(step.rows)]


def apply_at_once(flat: torch.Tensor, steps: Sequence[RowChange]) -> None:
    """Apply each change to all of its rows in few operations: for devices on which starting an operation costs time.

    Args:
        flat: (batch * channels, ...), changed in place.
        steps: in order.
    """
    arrays: list[NDArray] = []
    for step in steps:
        arrays += [step.rows, *step.values]
    sent = iter(send(arrays, flat.device))
    for step in steps:
        rows, *values = (next(sent) for _ in range(1 + len(step.values)))
        flat.index_copy_(0, rows, step.change(flat.index_select(0, rows), *values))


def apply_row_by_row(flat: torch.Tensor, steps: Sequence[RowChange]) -> None:
    """Apply each change to one row after the other: on a CPU an image then stays in the cache.

    Args:
        flat: (batch * channels, ...), changed in place.
        steps: in order.
    """
    for step in steps:
        for number, row in enumerate(step.rows.tolist()):
            image = flat[row : row + 1]
            values = (torch.from_numpy(value[number : number + 1]) for value in step.values)
            changed = step.change(image, *values)
            if changed.data_ptr() != image.data_ptr():  # most changes work in place
                image.copy_(changed)


def _add_noise(image: torch.Tensor, changes: Changes) -> None:
    """Add noise from a generator for each sample, so that it does not depend on the rest of the batch."""
    for number in np.flatnonzero(~np.isnan(changes.noise_std)).tolist():
        source = torch.Generator(image.device).manual_seed(int(changes.noise_seed[number]))
        noise = torch.randn(image.shape[1:], generator=source, device=image.device)
        image[number].add_(noise, alpha=float(changes.noise_std[number]))


def _blur(changes: Changes, spatial: Sequence[int]) -> RowChange:
    sigmas = changes.blur.reshape(-1, len(spatial))
    rows = np.flatnonzero(~np.isnan(sigmas[:, 0]))
    matrices = [
        np.array([blur(size, sigmas[row, axis]) for row in rows], np.float32) for axis, size in enumerate(spatial)
    ]
    return RowChange(along_axes, rows, matrices)


def _low_resolution(
    changes: Changes, spatial: Sequence[int], mirrored: Sequence[Sequence[bool]], keep_first_axis: bool
) -> RowChange:
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
    return RowChange(along_axes, rows, matrices)


def _by_factor(change: Callable[..., torch.Tensor], factors: NDArray[np.float64]) -> RowChange:
    """Return a change with one number for each channel."""
    flat = factors.ravel()
    rows = np.flatnonzero(~np.isnan(flat))
    return RowChange(change, rows, [flat[rows].astype(np.float32)])


def _brightness(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return image.mul_(factor.view(-1, *[1] * (image.ndim - 1)))


def _contrast(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Scale the differences from the mean, and clip to the old range."""
    flat, factor = image.flatten(1), factor[:, None]
    mean, low, high = flat.mean(1, keepdim=True), flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return flat.sub_(mean).mul_(factor).add_(mean).clamp_(low, high).view_as(image)


def _gamma(image: torch.Tensor, gamma: torch.Tensor, sign: int) -> torch.Tensor:
    """Raise the intensities to a power within their range; mean and standard deviation stay.

    With `sign` -1 the image is inverted first, and back at the end.
    """
    flat = image.flatten(1)
    lowest, highest = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    start, span = (lowest if sign > 0 else highest), (highest - lowest).clamp_(min=_SMALLEST) * sign
    mean, spread = _moments(flat)
    changed = flat.sub_(start).div_(span).log_().mul_(gamma[:, None]).exp_()  # takes a fifth of the time of pow
    new_mean, new_spread = _moments(changed)
    scale = sign * spread / new_spread.clamp(min=_SMALLEST)
    return changed.sub_(new_mean).mul_(scale).add_(mean).view_as(image)


def _moments(flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of each row, and the root of its summed squared differences from it."""
    mean = flat.mean(1, keepdim=True)
    return mean, torch.linalg.vector_norm(flat - mean, dim=1, keepdim=True)
