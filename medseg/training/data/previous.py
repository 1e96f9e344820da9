"""The previous stage's answer in a training patch: corrupted at random, then one channel for each label value.

A network that trusts the previous stage blindly repeats its mistakes. So that stage's label map is changed at random:
structures grow, shrink, are opened or closed by a ball, and parts of them vanish. Order and distributions of nnU-Net v2
(`nnUNetTrainer.get_training_transforms`; batchgeneratorsv2, `random_binary_operator.py` and
`remove_connected_components.py`). Structures exclude each other before and after each change, so that a change is made
to the label map itself and costs nothing for the other structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from medseg.plans.sections.augmentation import Augmentation

Operator = Literal["dilate", "erode", "close", "open"]

_OPERATORS: tuple[Operator, ...] = ("dilate", "erode", "close", "open")
_LABEL_PROBABILITY = 0.5
"""Of each label to be changed, in a sample that is changed."""
_RADIUS_VOXELS = (1.0, 8.0)
"""Range of the ball's radius."""
_MOST_OF_PATCH = 0.15
"""Only components smaller than this share of the patch vanish."""
_REACH = 16
"""Voxels around a structure that a change can read: closing reads two radii far."""
_FAR = 10_000
"""Squared distance, in half voxels, that no ball reaches."""


@dataclass(frozen=True)
class Corruption:
    """The changes of the label map of one sample.

    Attributes:
        operators: (label index, operator, the ball's diameter in voxels), in the order in which they are applied.
        removals: (label index, which of its components: a number in [0, 1)), after that.
    """

    operators: tuple[tuple[int, Operator, int], ...] = ()
    removals: tuple[tuple[int, float], ...] = ()


def draw_corruption(random: np.random.Generator, settings: Augmentation, values: int) -> Corruption:
    """Draw the changes of one sample.

    Args:
        random: the random numbers of the sample.
        settings: probabilities of the plan.
        values: label values without the background; their indices count from 1.

    Returns:
        The changes.
    """
    operators: list[tuple[int, Operator, int]] = []
    removals: list[tuple[int, float]] = []
    if random.random() < settings.previous_operator_probability:
        for label in _some_labels(random, values):
            operator = _OPERATORS[random.integers(len(_OPERATORS))]
            # the smallest cube of whole voxels that holds nnU-Net's ball; an even one has no voxel in its middle
            operators.append((label, operator, int(2 * random.uniform(*_RADIUS_VOXELS) + 1)))
    if random.random() < settings.previous_removal_probability:
        removals = [(label, float(random.random())) for label in _some_labels(random, values)]
    return Corruption(tuple(operators), tuple(removals))


def _some_labels(random: np.random.Generator, values: int) -> list[int]:
    """Return some of the labels, in random order."""
    return [int(label) for label in random.permutation(values) + 1 if random.random() < _LABEL_PROBABILITY]


def corrupt(maps: torch.Tensor, corruptions: Sequence[Corruption]) -> None:
    """Change label maps in place.

    Args:
        maps: (batch, ...) int16.
        corruptions: one for each map.
    """
    for label_map, corruption in zip(maps, corruptions, strict=True):
        for label, operator, diameter in corruption.operators:
            _operate(label_map, label, operator, diameter)
        for label, which in corruption.removals:
            _remove_component(label_map, label, which)


def one_hot(maps: torch.Tensor, values: int, dimension: int) -> torch.Tensor:
    """Return float32 channels from label indices: the channel of a label is 1 where the label is, else 0.

    Args:
        maps: label indices.
        values: number of labels, the background (0) not counted; channel 0 is that of label 1.
        dimension: axis of the result that the channels lie along.
    """
    shape = [-1 if axis == dimension else 1 for axis in range(maps.ndim + 1)]
    indices = torch.arange(1, values + 1, dtype=maps.dtype, device=maps.device).view(shape)
    return (maps.unsqueeze(dimension) == indices).float()


def dilated(mask: torch.Tensor, diameter: int) -> torch.Tensor:
    """Dilate a mask by a ball (in 2D a disk) that fills a cube of `diameter` voxels.

    Args:
        mask: bool.
        diameter: the diameter of the ball, in voxels.

    Returns:
        The dilated mask, bool, in the same shape.

    Voxels within half of `diameter` - 1 of the middle belong to the ball: that is skimage's `ball(radius)` for every
    radius with `int(2 * radius + 1) == diameter`. The middle of an even cube lies half a voxel behind a voxel, as in
    nnU-Net.

    Squared distances are built up axis by axis (a minimum over shifted copies), so that the work grows with the
    diameter and not with the ball's volume.
    """
    steps = [(offset - (diameter - 1) // 2, (2 * offset - (diameter - 1)) ** 2) for offset in range(diameter)]
    # in half voxels, so that the distances from the middle of an even cube are whole numbers, too
    squared = torch.full(mask.shape, _FAR, dtype=torch.int16, device=mask.device).masked_fill_(mask, 0)
    for axis in range(mask.ndim):
        size, nearest = squared.shape[axis], torch.full_like(squared, _FAR)
        for shift, cost in steps:
            length = size - abs(shift)
            if length > 0:
                into = nearest.narrow(axis, max(-shift, 0), length)
                torch.minimum(into, squared.narrow(axis, max(shift, 0), length) + cost, out=into)
        squared = nearest
    return squared <= (diameter - 1) ** 2


def _eroded(mask: torch.Tensor, diameter: int) -> torch.Tensor:
    return ~dilated(~mask, diameter)


def _operate(label_map: torch.Tensor, label: int, operator: Operator, diameter: int) -> None:
    """Change the region of one label; what it gains, others lose."""
    near = _surroundings(label_map, label)
    if near is None:
        return
    mask = near == label
    if operator == "dilate":
        result = dilated(mask, diameter)
    elif operator == "erode":
        result = _eroded(mask, diameter)
    elif operator == "close":
        result = _eroded(dilated(mask, diameter), diameter)
    else:
        result = dilated(_eroded(mask, diameter), diameter)
    near.masked_fill_(mask, 0)
    near.masked_fill_(result, label)


def _surroundings(label_map: torch.Tensor, label: int) -> torch.Tensor | None:
    """Return the part of a map that a change of a label can reach, as a view; None where the label is not there.

    An accelerator is not asked where the label is: that would wait for all the work that it still has to do.
    """
    if label_map.device.type != "cpu":
        return label_map
    mask, box = label_map == label, []
    for axis in range(label_map.ndim):
        others = [other for other in range(label_map.ndim) if other != axis]
        inside = mask.amax(others).nonzero()
        if not len(inside):
            return None
        first, last = int(inside[0]), int(inside[-1])
        box.append(slice(max(0, first - _REACH), last + _REACH + 1))
    return label_map[tuple(box)]


def _remove_component(label_map: torch.Tensor, label: int, which: float) -> None:
    """Make one of a label's components background, if there are any that are small enough."""
    from scipy import ndimage

    mask = (label_map == label).cpu().numpy()
    parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(sizes < _MOST_OF_PATCH * mask.size)
    if len(small):
        chosen = torch.from_numpy(parts == small[int(which * len(small))] + 1)
        label_map.masked_fill_(chosen.to(label_map.device), 0)
