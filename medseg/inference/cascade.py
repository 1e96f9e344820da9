"""The second stage of a cascade: its networks see the first stage's answer beside the scan.

As in nnU-Net (`data_iterators.py`, `default_preprocessor.py`): the first stage's labels on the scan's own grid are
cropped and resampled with the scan, and become one channel per label value, which is 1 where the value is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
"""Index of background where the scan is zero, as in nnU-Net: resampled as a label of its own, so that it competes with
the background inside the scan."""
_TIE = 1e-9
"""Shares that differ by less are equal up to rounding."""


def with_previous(model: Model, image: Image, answer: Image) -> Volume:
    """Prepare a scan with the answer of the stage before as further channels.

    Args:
        model: the model of the second stage.
        image: the scan (channel, z, y, x).
        answer: labels (1, z, y, x) of the first stage on the scan's grid, in the values of `model.plan.labels`.

    Returns:
        The scan on the network's grid, with a channel for each label value of the answer but the background.

    Raises:
        DataError: the scan does not suit the model.
    """
    labels = model.plan.labels
    encoded = labels.encode(answer.array[0], "the answer of the stage before")
    volume = prepare(image, model.plan, model.configuration, also_content=encoded > 0)
    geometry = volume.geometry
    indices = geometry.turn(encoded[None])[0][geometry.box].copy()
    cropped = geometry.turn(image.array)[(slice(None), *geometry.box)]
    indices[(indices == 0) & ~content_of(cropped)] = _OUTSIDE
    resampling = model.configuration.resample_label
    axis = separate_axis(geometry.spacing_mm, geometry.network_spacing_mm, resampling.separate_axis)
    resampled = largest_share(indices, volume.image.shape[1:], resampling, axis)
    channels = np.empty((len(labels.values) - 1, *resampled.shape), dtype=np.float32)
    for index, channel in enumerate(channels, start=1):
        np.equal(resampled, index, out=channel, casting="unsafe")
    return replace(volume, image=np.concatenate([volume.image, channels]))


def largest_share(
    label: NDArray[np.int16], shape: Sequence[int], resampling: Resampling, axis: int | None
) -> NDArray[np.int16]:
    """Resample label indices: the label whose interpolated mask has the largest share of a voxel wins.

    Where the largest shares are equal, the label of the nearest voxel decides if it is among them, else the smallest
    of them wins. Source: batchgenerators 0.25.5, `resize_segmentation`.

    Args:
        label: indices (z, y, x).
        shape: the shape of the result (z, y, x).
        resampling: says of which order the interpolation is.
        axis: slices along this axis are resampled one by one, and the nearest slice is taken; None to resample in 3D.

    Returns:
        Indices of the shape asked for; `label` itself if it has this shape.
    """
    if label.shape == tuple(shape):
        return label
    target = [size if number != axis else label.shape[number] for number, size in enumerate(shape)]
    nearest = label
    for number, size in enumerate(target):
        nearest = np.take(nearest, nearest_voxels(label.shape[number], size).numpy(), axis=number)
    winner = np.full(target, label.min(), dtype=label.dtype)
    best, best_of_nearest = np.zeros(target), np.zeros(target)
    for value, box, share in _shares(label, target, resampling.order):
        np.copyto(best_of_nearest[box], share, where=nearest[box] == value)
        np.copyto(winner[box], value, where=share > best[box] + _TIE)
        np.maximum(best[box], share, out=best[box])
    np.copyto(winner, nearest, where=best_of_nearest >= best - _TIE)
    return (
        winner if axis is None else np.take(winner, nearest_voxels(label.shape[axis], shape[axis]).numpy(), axis=axis)
    )


def _shares(
    label: NDArray[np.int16], target: Sequence[int], order: int
) -> Iterator[tuple[int, tuple[slice, ...], NDArray[np.float64]]]:
    """Yield each label's interpolated mask in the box that it reaches: (label, box, shares), labels ascending.

    Only the box around a label is interpolated: elsewhere its share is 0.
    """
    lowest = int(label.min())
    for value, box in enumerate(ndimage.find_objects(label.astype(np.int32) - lowest + 1), start=lowest):
        if box is None:
            continue
        part = torch.from_numpy((label[box] == value).astype(np.float64))
        target_box = []
        for number, (inside, size) in enumerate(zip(box, target, strict=True)):
            if label.shape[number] == size:
                target_box.append(inside)
                continue
            matrix = spline_matrix(label.shape[number], size, order)[:, inside]
            rows = matrix.any(1).nonzero()[:, 0].tolist()
            target_box.append(slice(rows[0], rows[-1] + 1) if rows else slice(0))
            part = torch.tensordot(matrix[target_box[-1]], part, dims=([1], [number])).movedim(0, number)
        yield value, tuple(target_box), part.numpy()
