"""The second stage of a cascade sees the first one's answer beside the scan.

As nnU-Net has it (`data_iterators.py`, `default_preprocessor.py`): the first stage's labels on the scan's own grid are
cropped and resampled with the scan, and become one channel for each label value, 1 where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.image import Image
from medseg.models.model import Model
from medseg.plans.schema import Resampling
from medseg.preprocessing.resample import nearest_voxels, separate_axis, spline_matrix
from medseg.preprocessing.volume import Volume, content_of, prepare

_OUTSIDE = -1
_TIE = 1e-9
"""Shares that differ by less are equal up to rounding."""


def prepare_for(model: Model, image: Image, answer_of: Callable[[Model, Image], Image]) -> Volume:
    """What a model's networks see of a scan.

    Args:
        model: of one stage, or the last one of a cascade.
        image: the scan.
        answer_of: (model, scan) -> labels (1, z, y, x) on the scan's grid; asked for the stage before, if there is one.

    Raises:
        DataError: the scan does not suit the model.
    """
    if model.previous is None:
        return prepare(image, model.plan, model.configuration)
    return with_previous(model, image, answer_of(model.previous, image))


def with_previous(model: Model, image: Image, answer: Image) -> Volume:
    """A scan brought to the network's grid, with the stage before's answer as further channels.

    Args:
        model: of the second stage.
        image: the scan (channel, z, y, x).
        answer: labels (1, z, y, x) on the scan's grid, in the values of `model.plan.labels`.
    """
    labels = model.plan.labels
    stored = labels.encode(answer.array[0], "the answer of the stage before")
    volume = prepare(image, model.plan, model.configuration, also_content=stored > 0)
    geometry = volume.geometry
    indices = geometry.turn(stored[None])[0][geometry.box].copy()
    cropped = geometry.turn(image.array)[(slice(None), *geometry.box)]
    indices[(indices == 0) & ~content_of(cropped)] = _OUTSIDE
    how = model.configuration.resample_label
    axis = separate_axis(geometry.spacing_mm, geometry.network_spacing_mm, how.separate_axis)
    resampled = largest_share(indices, volume.image.shape[1:], how, axis)
    channels = np.empty((len(labels.values) - 1, *resampled.shape), dtype=np.float32)
    for index, channel in enumerate(channels, start=1):
        np.equal(resampled, index, out=channel, casting="unsafe")
    return replace(volume, image=np.concatenate([volume.image, channels]))


def largest_share(
    label: NDArray[np.int16], shape: Sequence[int], how: Resampling, axis: int | None
) -> NDArray[np.int16]:
    """Resample (z, y, x) label indices: the label whose mask, interpolated, has the largest share of a voxel.

    Where the largest shares are equal the nearest voxel's label decides, if it is among them, else the smallest of them
    wins. Slices along `axis` are resampled apart. Source: batchgenerators 0.25.5, `resize_segmentation`.
    """
    if label.shape == tuple(shape):
        return label
    target = [size if place != axis else label.shape[place] for place, size in enumerate(shape)]
    nearest = label
    for place, size in enumerate(target):
        nearest = np.take(nearest, nearest_voxels(label.shape[place], size).numpy(), axis=place)
    winner = np.full(target, label.min(), dtype=label.dtype)
    best, best_of_nearest = np.zeros(target), np.zeros(target)
    for value, where, share in _shares(label, target, how.order):
        np.copyto(best_of_nearest[where], share, where=nearest[where] == value)
        np.copyto(winner[where], value, where=share > best[where] + _TIE)
        np.maximum(best[where], share, out=best[where])
    np.copyto(winner, nearest, where=best_of_nearest >= best - _TIE)
    return (
        winner if axis is None else np.take(winner, nearest_voxels(label.shape[axis], shape[axis]).numpy(), axis=axis)
    )


def _shares(
    label: NDArray[np.int16], target: Sequence[int], order: int
) -> Iterator[tuple[int, tuple[slice, ...], NDArray[np.float64]]]:
    """Each label's interpolated mask, in the box that it reaches: (label, box, shares), labels ascending."""
    lowest = int(label.min())
    for value, box in enumerate(ndimage.find_objects(label.astype(np.int32) - lowest + 1), start=lowest):
        if box is None:
            continue
        part = torch.from_numpy((label[box] == value).astype(np.float64))
        reached = []
        for place, (inside, size) in enumerate(zip(box, target, strict=True)):
            if label.shape[place] == size:
                reached.append(inside)
                continue
            matrix = spline_matrix(label.shape[place], size, order)[:, inside]
            rows = matrix.any(1).nonzero()[:, 0].tolist()
            reached.append(slice(rows[0], rows[-1] + 1) if rows else slice(0))
            part = torch.tensordot(matrix[reached[-1]], part, dims=([1], [place])).movedim(0, place)
        yield value, tuple(reached), part.numpy()
