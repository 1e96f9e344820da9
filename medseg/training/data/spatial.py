"""Gathers a batch of patches from volumes: position, rotation, scale and mirroring in one step, for images and labels.

A patch that is neither rotated nor scaled is copied. Otherwise the image is interpolated linearly, and a label map by a
vote: of the labels of the eight voxels around a point, the one with the largest sum of linear weights wins. That is the
argmax of interpolated one-hot maps (as in nnU-Net v2), at a cost that does not grow with the number of structures. Only
the part of a volume that a patch touches is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import IGNORE, OUTSIDE
from medseg.core.machine.cores import usable_cores
from medseg.networks.device import to_device
from medseg.preprocessing.cache import Sample
from medseg.training.data.resample_patch import resample_patches
from medseg.training.data.sampling import Draw
from medseg.training.data.transfer import send

_MOST_CUTTERS = 8
"""Threads that cut patches; more would only wait for the same memory."""

Box = tuple[Sequence[int], Sequence[bool]]
"""First voxel (z, y, x), and which axes are reversed."""


@dataclass(frozen=True)
class Patches:
    """The patches of a batch.

    Attributes:
        image: (batch, channel, z, y, x) float32; 0 beyond the volumes. Where voxels have weights, the last channel is
            the weight minus 1.
        maps: (batch, z, y, x) int16 each: the labels and, in a cascade, the previous stage's.
    """

    image: torch.Tensor
    maps: list[torch.Tensor]

    def to(self, device: torch.device) -> Patches:
        """Return the patches on a device, without waiting for the copy."""
        return Patches(to_device(self.image, device), [to_device(labels, device) for labels in self.maps])


def gather(
    samples: Sequence[Sample],
    draws: Sequence[Draw],
    patch_zyx: Sequence[int],
    device: torch.device,
    with_weights: bool = False,
) -> Patches:
    """Return the patches that were drawn.

    Beyond the volume label maps are `OUTSIDE` or, where only some voxels are annotated, `IGNORE`: as background, which
    nnU-Net makes of them, they would outnumber the others.

    Args:
        samples: the sample of each draw; all in the host's memory, or all on `device`.
        draws: what to take from each.
        patch_zyx: size of a patch in voxels.
        device: to gather on.
        with_weights: also gather the weights of voxels, as a further channel of the image.
    """
    boxes = [(draw.start, draw.mirrored) if draw.matrix is None else None for draw in draws]
    patches = crop(samples, boxes, patch_zyx, device, with_weights)
    rotated = [number for number, draw in enumerate(draws) if draw.matrix is not None]
    if device.type == "cpu":
        for number in rotated:
            resample_in_volume(samples[number], draws[number], number, patches)
        return patches
    patches = patches.to(device)
    if rotated:
        chosen = [(samples[number], draws[number]) for number in rotated]
        resample_in_boxes([sample for sample, _ in chosen], [draw for _, draw in chosen], rotated, patches)
    return patches


@cache
def load_loops() -> None:
    """Compile or load the loops for a CPU now: it takes seconds, which would otherwise fall into a timed step."""
    from medseg.training.data.resample_patch_numba import resample_image, resample_labels

    image, label = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1), np.int16)
    resample_image(image, np.eye(3), np.zeros(3), image)
    resample_labels(label, np.eye(3), np.zeros(3), OUTSIDE, label)


def crop(
    samples: Sequence[Sample],
    boxes: Sequence[Box | None],
    size: Sequence[int],
    device: torch.device,
    with_weights: bool = False,
) -> Patches:
    """Cut a box out of each sample, padded where it sticks out.

    The result lies where the samples do, in memory that `device` can read.

    Args:
        samples: to cut from.
        boxes: one for each sample; None leaves the patch of that sample empty.
        size: the size that all boxes have, (z, y, x) in voxels.
        device: the device that will read the result.
        with_weights: also cut the weights of voxels, as a further channel of the image.

    Returns:
        The patches, without rotation or scaling.
    """
    where = samples[0].image.device
    pinned = where.type == "cpu" and device.type == "cuda"
    count = len(_maps(samples[0]))
    channels = len(samples[0].image)
    image = torch.zeros((len(samples), channels + with_weights, *size), device=where, pin_memory=pinned)
    maps = [
        torch.empty((len(samples), *size), dtype=torch.int16, device=where, pin_memory=pinned) for _ in range(count)
    ]

    def cut(number: int) -> None:
        sample, box = samples[number], boxes[number]
        if box is None:
            return
        _copy(sample.image, box, image[number, :channels])
        if with_weights and sample.weight_offsets is not None:
            _copy(sample.weight_offsets[None], box, image[number, channels:])
        for (volume, beyond), out in zip(_maps(sample), maps, strict=True):
            _copy(volume, box, out[number].fill_(beyond))

    if where.type == "cpu" != device.type and len(samples) > 1:
        list(_cutters().map(cut, range(len(samples))))  # an accelerator leaves the cores free
    else:
        for number in range(len(samples)):
            cut(number)
    return Patches(image, maps)


@cache
def _cutters() -> ThreadPoolExecutor:
    """Return threads that cut patches side by side: each waits for the disk and for memory most of the time."""
    return ThreadPoolExecutor(min(_MOST_CUTTERS, usable_cores()), thread_name_prefix="patches")


def affine(draw: Draw, patch_zyx: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (matrix 3x3, origin): voxel `index` of the patch lies at `matrix @ index + origin` of the volume.

    Args:
        draw: position, rotation and scale, and mirroring.
        patch_zyx: size of the patch in voxels.
    """
    half = (np.array(patch_zyx) - 1) / 2
    matrix = np.eye(3) if draw.matrix is None else draw.matrix
    mirrored = matrix @ np.diag(np.where(draw.mirrored, -1.0, 1.0))
    return mirrored, np.array(draw.start) + half - mirrored @ half


def _maps(sample: Sample) -> list[tuple[torch.Tensor, int]]:
    """Return a sample's label maps, each with its value beyond the volume."""
    label = (sample.label, IGNORE if len(sample.annotated) else OUTSIDE)
    return [label] if sample.previous is None else [label, (sample.previous, OUTSIDE)]


def _copy(volume: torch.Tensor, box: Box, out: torch.Tensor) -> None:
    """Copy the part of a volume (..., z, y, x) that lies in a box into `out`; the rest of `out` stays as it is."""
    source: list[slice] = []
    target: list[slice] = []
    flipped: list[int] = []
    for axis, (start, reversed_) in enumerate(zip(*box, strict=True), start=-3):
        length, size = out.shape[axis], volume.shape[axis]
        first, last = min(max(start, 0), size), max(min(start + length, size), 0)
        if first >= last:
            return
        source.append(slice(first, last))
        low, high = first - start, last - start
        target.append(slice(length - high, length - low) if reversed_ else slice(low, high))
        flipped += [axis] if reversed_ else []
    inside = volume[..., source[0], source[1], source[2]]
    out[..., target[0], target[1], target[2]] = inside.flip(flipped) if flipped else inside


def resample_in_volume(sample: Sample, draw: Draw, number: int, patches: Patches) -> None:
    """Resample a patch straight from the volume into the batch, in loops that are compiled for a CPU.

    Args:
        sample: to read.
        draw: position, rotation, scale and mirroring.
        number: the number of the sample in the batch.
        patches: to write into.
    """
    from medseg.training.data.resample_patch_numba import resample_image, resample_labels

    matrix, origin = affine(draw, patches.image.shape[2:])
    channels = len(sample.image)
    resample_image(sample.image.contiguous().numpy(), matrix, origin, patches.image[number, :channels].numpy())
    if patches.image.shape[1] > channels and sample.weight_offsets is not None:
        offsets = sample.weight_offsets[None].contiguous().numpy()
        resample_image(offsets, matrix, origin, patches.image[number, channels:].numpy())
    for (volume, beyond), out in zip(_maps(sample), patches.maps, strict=True):
        resample_labels(volume.contiguous().numpy(), matrix, origin, beyond, out[number].numpy())


def resample_in_boxes(
    samples: Sequence[Sample], draws: Sequence[Draw], numbers: Sequence[int], patches: Patches
) -> None:
    """Resample several patches at once, from boxes of one size that hold every voxel that they touch.

    Beyond the volume a box is padded, so every point lies inside of it.

    Args:
        samples: to read.
        draws: position, rotation, scale and mirroring of each.
        numbers: the numbers of the samples in the batch.
        patches: to write into.
    """
    size = patches.image.shape[2:]
    affines = [affine(draw, size) for draw in draws]
    half = (np.array(size) - 1) / 2
    lows, highs = [], []
    for matrix, origin in affines:
        middle, reach = matrix @ half + origin, np.abs(matrix) @ half
        lows.append(np.floor(middle - reach).astype(int) - 1)  # a voxel more, as points are rounded
        highs.append(np.floor(middle + reach).astype(int) + 3)  # so here, and the upper neighbour, and the excluded end
    extent = np.max(np.array(highs) - np.array(lows), axis=0).tolist()
    not_reversed = (False, False, False)
    device = patches.image.device
    with_weights = patches.image.shape[1] > len(samples[0].image)
    boxes = crop(samples, [(low.tolist(), not_reversed) for low in lows], extent, device, with_weights).to(device)
    matrices = np.array([matrix for matrix, _ in affines], np.float32)
    origins = np.array([origin - low for (_, origin), low in zip(affines, lows, strict=True)], np.float32)
    rows, *sent = send([np.array(numbers), matrices, origins], device)
    image, maps = resample_patches(boxes.image, boxes.maps, (sent[0], sent[1]), size)
    patches.image.index_copy_(0, rows, image)
    for out, labels in zip(patches.maps, maps, strict=True):
        out.index_copy_(0, rows, labels)
