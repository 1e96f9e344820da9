"""Rotated and scaled patches by torch's operations, a batch at once: for devices that are not a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch.nn import functional

TIE = 1e-6
"""Weight by which a label has to exceed that of the nearest voxel to win the vote: more than rounding."""

Points = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def resample_patches(
    image: torch.Tensor, maps: Sequence[torch.Tensor], affine: tuple[torch.Tensor, torch.Tensor], size: Sequence[int]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Resample patches from boxes that hold every point of the patch and its eight neighbours.

    Args:
        image: (batch, channel, z, y, x), interpolated linearly.
        maps: (batch, z, y, x) int16 each; of the labels around a point the one with the largest weight wins.
        affine: matrices (batch, 3, 3) and origins (batch, 3): `matrix @ index + origin` is a point in its box.
        size: the size of the patches, (z, y, x) in voxels.

    Returns:
        The patches (batch, channel, *size), and their label maps (batch, *size).
    """
    matrix, origin = (part[..., None, None, None] for part in affine)
    z, y, x = (torch.arange(length, device=image.device, dtype=torch.float32) for length in size)
    # not as a matrix product, which a GPU may round to ten bits (TF32)
    position = [
        matrix[:, axis, 0] * z[:, None, None] + matrix[:, axis, 1] * y[:, None] + matrix[:, axis, 2] * x
        for axis in range(3)
    ]
    points = (position[0] + origin[:, 0], position[1] + origin[:, 1], position[2] + origin[:, 2])
    # grid_sample wants (x, y, z), each from -1 to 1 over the outer faces of the box
    scaled = [(2 * point + 1) / length - 1 for point, length in zip(points, image.shape[2:], strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)
    sampled = functional.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled, [_vote(label, points) for label in maps]


def _vote(label: torch.Tensor, points: Points) -> torch.Tensor:
    """Return the label with the largest sum of linear weights among the eight voxels around each point."""
    lower = [point.floor() for point in points]
    share = [point - below for point, below in zip(points, lower, strict=True)]
    _, _, rows, columns = label.shape
    first = ((lower[0].long() * rows + lower[1].long()) * columns + lower[2].long()).flatten(1)
    flat, votes = label.flatten(1), []
    for corner in product((0, 1), repeat=3):
        z, y, x = (part if up else 1 - part for up, part in zip(corner, share, strict=True))
        neighbour = flat.gather(1, first + (corner[0] * rows + corner[1]) * columns + corner[2])
        votes.append((neighbour.view_as(lower[0]), z * y * x))
    nearest, best = votes[0]
    for candidate, weight in votes[1:]:
        nearest, best = torch.where(weight > best, candidate, nearest), torch.maximum(weight, best)
    winner, most = nearest, _weight_of(nearest, votes) + TIE
    for candidate, _ in votes:
        weight = _weight_of(candidate, votes)
        winner, most = torch.where(weight > most, candidate, winner), torch.maximum(weight, most)
    return winner


def _weight_of(label: torch.Tensor, votes: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Return the summed weight of the voxels that have this label."""
    return torch.stack([weight * (candidate == label) for candidate, weight in votes]).sum(0)
