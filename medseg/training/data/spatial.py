"""A batch of patches out of volumes: position, rotation, scale and mirroring in one step, image and label maps alike.

A patch that is neither turned nor scaled is a copy. Of one that is, the image is interpolated linearly, and a label map
by a vote: of the labels of the eight voxels around a point the one with the largest sum of linear weights wins, which
is the argmax of interpolated one-hot maps (as nnU-Net v2 has it) at a cost that does not grow with the structures.
Only the part of a volume that a patch touches is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.labels import IGNORE, OUTSIDE
from medseg.preprocessing.cache import Sample
from medseg.training.data.resample_patch import turn
from medseg.training.data.sampling import Draw
from medseg.training.data.transfer import send

Box = tuple[Sequence[int], Sequence[bool]]


@dataclass(frozen=True)
class Patches:
    """What was gathered.

    Attributes:
        image: (batch, channel, z, y, x) float32; 0 beyond the volumes.
        maps: (batch, z, y, x) int16 each: the labels and, in a cascade, the previous stage's.
    """

    image: torch.Tensor
    maps: list[torch.Tensor]

    def to(self, device: torch.device) -> Patches:
        """The same on `device`, without waiting for it."""
        return Patches(
            self.image.to(device, non_blocking=True), [one.to(device, non_blocking=True) for one in self.maps]
        )


def gather(samples: Sequence[Sample], draws: Sequence[Draw], patch_zyx: Sequence[int], device: torch.device) -> Patches:
    """The patches that were drawn, one of each sample.

    Label maps are `OUTSIDE` beyond the volume or, where only some voxels are annotated, `IGNORE`: as background, as
    nnU-Net has them, they would outnumber the others.

    Args:
        samples: that of each draw; all in the host's memory, or all on `device`.
    """
    straight = [(draw.start, draw.mirrored) if draw.matrix is None else None for draw in draws]
    patches = crop(samples, straight, patch_zyx, device)
    turned = [number for number, draw in enumerate(draws) if draw.matrix is not None]
    if device.type == "cpu":
        for number in turned:
            turn_in_volume(samples[number], draws[number], number, patches)
        return patches
    patches = patches.to(device)
    if turned:
        turn_in_boxes([samples[number] for number in turned], [draws[number] for number in turned], turned, patches)
    return patches


@cache
def load_loops() -> None:
    """Compile the loops for a CPU, or load them, at once: seconds that would else fall into a step that is timed."""
    from medseg.training.data import resample_patch_numba as turn_compiled

    image, label = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1), np.int16)
    turn_compiled.image(image, np.eye(3), np.zeros(3), image)
    turn_compiled.labels(label, np.eye(3), np.zeros(3), OUTSIDE, label)


def crop(samples: Sequence[Sample], boxes: Sequence[Box | None], size: Sequence[int], device: torch.device) -> Patches:
    """A box (first voxel, mirrored axes) of each sample, padded where it sticks out; None leaves a sample empty.

    The result lies where the samples do, in memory that `device` can read.
    """
    where = samples[0].image.device
    pinned = where.type == "cpu" and device.type == "cuda"
    count = len(_maps(samples[0]))
    image = torch.zeros((len(samples), len(samples[0].image), *size), device=where, pin_memory=pinned)
    maps = [
        torch.empty((len(samples), *size), dtype=torch.int16, device=where, pin_memory=pinned) for _ in range(count)
    ]
    for number, (sample, box) in enumerate(zip(samples, boxes, strict=True)):
        if box is None:
            continue
        _copy(sample.image, box, image[number])
        for (volume, beyond), out in zip(_maps(sample), maps, strict=True):
            _copy(volume, box, out[number].fill_(beyond))
    return Patches(image, maps)


def affine(draw: Draw, patch_zyx: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(matrix 3x3, origin): voxel `index` of the patch lies at `matrix @ index + origin` of the volume."""
    half = (np.array(patch_zyx) - 1) / 2
    matrix = np.eye(3) if draw.matrix is None else draw.matrix
    mirrored = matrix @ np.diag(np.where(draw.mirrored, -1.0, 1.0))
    return mirrored, np.array(draw.start) + half - mirrored @ half


def _maps(sample: Sample) -> list[tuple[torch.Tensor, int]]:
    """A sample's label maps, and what they are beyond the volume."""
    label = (sample.label, IGNORE if len(sample.annotated) else OUTSIDE)
    return [label] if sample.previous is None else [label, (sample.previous, OUTSIDE)]


def _copy(volume: torch.Tensor, box: Box, out: torch.Tensor) -> None:
    """What of a volume (..., z, y, x) lies in a box, into the box; the rest of `out` is left as it is."""
    source: list[slice] = []
    target: list[slice] = []
    flipped: list[int] = []
    for axis, (start, turned) in enumerate(zip(*box, strict=True), start=-3):
        length, size = out.shape[axis], volume.shape[axis]
        first, last = min(max(start, 0), size), max(min(start + length, size), 0)
        if first >= last:
            return
        source.append(slice(first, last))
        low, high = first - start, last - start
        target.append(slice(length - high, length - low) if turned else slice(low, high))
        flipped += [axis] if turned else []
    inside = volume[..., source[0], source[1], source[2]]
    out[..., target[0], target[1], target[2]] = inside.flip(flipped) if flipped else inside


def turn_in_volume(sample: Sample, draw: Draw, number: int, patches: Patches) -> None:
    """Straight from the volume into the batch, in loops that are compiled for a CPU."""
    from medseg.training.data import resample_patch_numba as turn_compiled

    matrix, origin = affine(draw, patches.image.shape[2:])
    turn_compiled.image(sample.image.contiguous().numpy(), matrix, origin, patches.image[number].numpy())
    for (volume, beyond), out in zip(_maps(sample), patches.maps, strict=True):
        turn_compiled.labels(volume.contiguous().numpy(), matrix, origin, beyond, out[number].numpy())


def turn_in_boxes(samples: Sequence[Sample], draws: Sequence[Draw], numbers: Sequence[int], patches: Patches) -> None:
    """Turned patches into samples `numbers` of a batch, all at once: from boxes of one size that hold what they touch.

    Beyond the volume a box is filled, so every point lies inside of it.
    """
    size = patches.image.shape[2:]
    affines = [affine(draw, size) for draw in draws]
    half = (np.array(size) - 1) / 2
    lows, highs = [], []
    for matrix, origin in affines:
        middle, reach = matrix @ half + origin, np.abs(matrix) @ half
        lows.append(np.floor(middle - reach).astype(int) - 1)  # a voxel more, as points are rounded
        highs.append(np.floor(middle + reach).astype(int) + 3)
    extent = np.max(np.array(highs) - np.array(lows), axis=0).tolist()
    straight = (False, False, False)
    device = patches.image.device
    boxes = crop(samples, [(low.tolist(), straight) for low in lows], extent, device).to(device)
    matrices = np.array([matrix for matrix, _ in affines], np.float32)
    origins = np.array([origin - low for (_, origin), low in zip(affines, lows, strict=True)], np.float32)
    rows, *sent = send([np.array(numbers), matrices, origins], device)
    image, maps = turn(boxes.image, boxes.maps, (sent[0], sent[1]), size)
    patches.image.index_copy_(0, rows, image)
    for out, one in zip(patches.maps, maps, strict=True):
        out.index_copy_(0, rows, one)
