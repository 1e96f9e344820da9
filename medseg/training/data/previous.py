"""The stage before's answer as a training patch has it: spoiled at random, then one channel for each label value.

A network that trusts the stage before blindly repeats its mistakes. So its label map is changed at random: structures
grow, shrink, are opened or closed by a ball, and parts of them vanish. Order and distributions of nnU-Net v2
(`nnUNetTrainer.get_training_transforms`; batchgeneratorsv2, `random_binary_operator.py` and
`remove_connected_components.py`). Structures exclude each other before and after each change, so that it is made to the
label map itself and costs nothing for structures that are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from medseg.plans.sections import Augmentation

Operator = Literal["dilate", "erode", "close", "open"]

_OPERATORS: tuple[Operator, ...] = ("dilate", "erode", "close", "open")
_OF_LABELS = 0.5
"""Share of the labels that are changed where a sample is."""
_RADIUS_VOXELS = (1.0, 8.0)
_MOST_OF_PATCH = 0.15
"""Only components smaller than this share of the patch vanish."""
_REACH = 16
"""Voxels that a structure's surroundings have to hold: closing reads two radii far."""
_NEVER = 10_000


@dataclass(frozen=True)
class Spoiling:
    """What is done to the label map of one sample.

    Attributes:
        operators: (label index, operator, the ball's diameter in voxels), in the order in which they are applied.
        removals: (label index, which of its components: a number in [0, 1)), after that.
    """

    operators: tuple[tuple[int, Operator, int], ...] = ()
    removals: tuple[tuple[int, float], ...] = ()


def draw_spoiling(random: np.random.Generator, settings: Augmentation, values: int) -> Spoiling:
    """What is done to one sample.

    Args:
        values: label values without the background; their indices count from 1.
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
    return Spoiling(tuple(operators), tuple(removals))


def _some_labels(random: np.random.Generator, values: int) -> list[int]:
    """Each label with its probability, in random order."""
    return [int(label) for label in random.permutation(values) + 1 if random.random() < _OF_LABELS]


def spoil(maps: torch.Tensor, spoilings: Sequence[Spoiling]) -> None:
    """Change label maps (batch, ...) int16 in place, each in its way."""
    for one, spoiling in zip(maps, spoilings, strict=True):
        for label, operator, diameter in spoiling.operators:
            _operate(one, label, operator, diameter)
        for label, which in spoiling.removals:
            _remove_component(one, label, which)


def one_hot(maps: torch.Tensor, values: int, dimension: int) -> torch.Tensor:
    """Label indices to float32 channels, 1 where an index of 1 to `values` is; channels lie along `dimension`."""
    shape = [-1 if axis == dimension else 1 for axis in range(maps.ndim + 1)]
    indices = torch.arange(1, values + 1, dtype=maps.dtype, device=maps.device).view(shape)
    return (maps.unsqueeze(dimension) == indices).float()


def dilated(mask: torch.Tensor, diameter: int) -> torch.Tensor:
    """A mask (..., bool) widened by a ball (in 2D a disk) that fills a cube of `diameter` voxels.

    Voxels within half of `diameter` - 1 of the middle belong to it, that is skimage's `ball(radius)` for every radius
    with `int(2 * radius + 1) == diameter`. The middle of an even cube lies half a voxel behind a voxel, as in nnU-Net.

    Squared distances are built up axis by axis (a minimum over shifted copies), so that the work grows with the
    diameter and not with the ball's volume.
    """
    steps = [(place - (diameter - 1) // 2, (2 * place - (diameter - 1)) ** 2) for place in range(diameter)]
    squared = torch.full(mask.shape, _NEVER, dtype=torch.int16, device=mask.device).masked_fill_(mask, 0)  # half voxels
    for axis in range(mask.ndim):
        size, nearest = squared.shape[axis], torch.full_like(squared, _NEVER)
        for shift, cost in steps:
            length = size - abs(shift)
            if length > 0:
                into = nearest.narrow(axis, max(-shift, 0), length)
                torch.minimum(into, squared.narrow(axis, max(shift, 0), length) + cost, out=into)
        squared = nearest
    return squared <= (diameter - 1) ** 2


def _eroded(mask: torch.Tensor, diameter: int) -> torch.Tensor:
    return ~dilated(~mask, diameter)


def _operate(one: torch.Tensor, label: int, operator: Operator, diameter: int) -> None:
    """One label's region changed; what it gains, others lose."""
    near = _surroundings(one, label)
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


def _surroundings(one: torch.Tensor, label: int) -> torch.Tensor | None:
    """The part of a map that a change of a label can reach, as a view; None where the label is not there.

    An accelerator is not asked where the label is, as that would wait for all that it has to do.
    """
    if one.device.type != "cpu":
        return one
    mask, box = one == label, []
    for axis in range(one.ndim):
        others = [other for other in range(one.ndim) if other != axis]
        inside = mask.amax(others).nonzero()
        if not len(inside):
            return None
        first, last = int(inside[0]), int(inside[-1])
        box.append(slice(max(0, first - _REACH), last + _REACH + 1))
    return one[tuple(box)]


def _remove_component(one: torch.Tensor, label: int, which: float) -> None:
    """Make one of a label's components background, if there are some that are small enough."""
    from scipy import ndimage

    mask = (one == label).cpu().numpy()
    parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(sizes < _MOST_OF_PATCH * mask.size)
    if len(small):
        chosen = torch.from_numpy(parts == small[int(which * len(small))] + 1)
        one.masked_fill_(chosen.to(one.device), 0)
