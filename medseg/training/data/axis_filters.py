"""Changes that work along each axis by itself, as matrices (size, size) to multiply the lines of an image with."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

_BLUR_SIGMAS = 3


def blur(size: int, sigma: float) -> Matrix:
    """A Gaussian up to three standard deviations (in voxels), mirrored at the ends of a line."""
    radius = ceil(_BLUR_SIGMAS * sigma)
    if size == 1 or radius == 0:
        return np.eye(size, dtype=np.float32)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    there_and_back = np.abs(np.arange(size)[:, None] + offsets) % (2 * size - 2)
    mirrored = np.minimum(there_and_back, 2 * size - 2 - there_and_back)
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (np.arange(size)[:, None], mirrored), weights / weights.sum())
    return matrix


def low_resolution(size: int, zoom: float, mirrored: bool = False) -> Matrix:
    """Down to `zoom` of the voxels by nearest neighbour and up again linearly, voxels taken as cells.

    Args:
        mirrored: for a line that was turned round: as if it were turned afterwards.
    """
    coarse = max(1, round(size * zoom))
    kept = np.minimum(np.floor((np.arange(coarse) + 0.5) * size / coarse).astype(int), size - 1)
    place = np.clip((np.arange(size) + 0.5) * coarse / size - 0.5, 0, coarse - 1)
    lower = np.minimum(place.astype(int), max(coarse - 2, 0))
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (np.arange(size), kept[lower]), 1 - (place - lower))
    np.add.at(matrix, (np.arange(size), kept[np.minimum(lower + 1, coarse - 1)]), place - lower)
    return np.ascontiguousarray(matrix[::-1, ::-1]) if mirrored else matrix


def along_axes(images: torch.Tensor, *matrices: torch.Tensor) -> torch.Tensor:
    """Images (number, ...), each multiplied along each axis with its own matrix (number, size, size)."""
    for axis, matrix in enumerate(matrices, start=1):
        shape = images.shape
        if axis == images.ndim - 1:
            images = torch.bmm(images.flatten(1, -2), matrix.mT)
        elif axis == 1:
            images = torch.bmm(matrix, images.flatten(2))
        else:
            images = torch.matmul(matrix[:, None], images)
        images = images.view(shape)
    return images
